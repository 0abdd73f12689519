//! What the faulty disk costs: 4 KiB written and synced, beside the temporary directory's disk and memory.
//!
//! `cargo bench -p nemesis --bench disk`. The temporary directory is `TMPDIR`, else `/tmp`; what it lies on is printed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nemesis::disk::{CAPACITY_BYTES, DEVICE, Disk};
use nemesis::net::{Request, enter};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::statfs;

const WRITES: usize = 2_000;
/// The places take turns, so that a machine that gets busy meanwhile favours none.
const TURNS: usize = 5;
const CHILD: &str = "DISK_BENCH_CHILD";

fn main() -> io::Result<()> {
    if std::env::var_os(CHILD).is_some() {
        return measure(&PathBuf::from(std::env::args_os().nth(1).expect("a directory")));
    }
    let tun = std::env::var_os("HARNESS_TUN").map_or_else(|| "/dev/net/tun".into(), PathBuf::from);
    if let Err(error) = enter(&Request { tun, host_listeners: Vec::new() }) {
        println!("skipped: {error}; {}", error.help());
        return Ok(());
    }
    let base = std::env::temp_dir()
        .join(format!("disk-bench-{:?}", Instant::now()).replace(['{', '}', ' ', ':'], ""));
    let [native, memory, faulty] = ["native", "tmpfs", "faulty"].map(|name| base.join(name));
    for directory in [&native, &memory, &faulty] {
        std::fs::create_dir_all(directory)?;
    }
    mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let disk = Disk::mount(Path::new(DEVICE), &faulty, CAPACITY_BYTES).map_err(io::Error::other)?;
    let names = [
        format!("{} ({:?})", native.display(), statfs(&native)?.filesystem_type()),
        "tmpfs".to_owned(),
        "faulty disk".to_owned(),
    ];
    let places = [native, memory.clone(), disk.data()];

    let mut times = [[Duration::MAX; 2]; 3];
    for _ in 0..TURNS {
        for (best, place) in times.iter_mut().zip(&places) {
            for (best, time) in best.iter_mut().zip(in_child(place)?) {
                *best = time.min(*best);
            }
        }
    }
    println!("4 KiB, the best of {TURNS} turns of {WRITES}, µs for one");
    println!("{:>14} {:>14}  place", "write + sync", "write alone");
    for (name, [synced, alone]) in names.iter().zip(&times) {
        println!("{:>14.1} {:>14.1}  {name}", micros(*synced), micros(*alone));
    }
    let ratio = |place: usize, kind: usize| micros(times[2][kind]) / micros(times[place][kind]);
    println!("\nthe faulty disk takes, of what others take:");
    println!("{:>14.2} {:>14.2}  of the disk under the temporary directory", ratio(0, 0), ratio(0, 1));
    println!("{:>14.2} {:>14.2}  of tmpfs", ratio(1, 0), ratio(1, 1));
    drop(disk);
    umount2(&memory, MntFlags::MNT_DETACH)?;
    std::fs::remove_dir_all(&base)
}

/// Not in this process, which serves one of the places and must not use it.
fn in_child(place: &Path) -> io::Result<[Duration; 2]> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.env(CHILD, "1").arg(place).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut nanos = text.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || nanos.next().and_then(Result::ok).map(Duration::from_nanos);
    match (next(), next()) {
        (Some(synced), Some(alone)) => Ok([synced, alone]),
        _ => Err(io::Error::other(format!("the child said: {text}"))),
    }
}

fn measure(place: &Path) -> io::Result<()> {
    let path = place.join("measured");
    let file = File::create(&path)?;
    let bytes = [0x55; 4096];
    let timed = |syncs: bool| {
        let began = Instant::now();
        for number in 0..WRITES {
            file.write_all_at(&bytes, (number * bytes.len()) as u64)?;
            if syncs {
                file.sync_data()?;
            }
        }
        io::Result::Ok(began.elapsed().as_nanos() / WRITES as u128)
    };
    // The first round makes the file as long as it gets.
    timed(false)?;
    let (synced, alone) = (timed(true)?, timed(false)?);
    println!("{synced} {alone}");
    std::fs::remove_file(path)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
