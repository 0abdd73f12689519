//! Programs of other languages under bent clocks, as far as the machine can build them. What it cannot is told.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nemesis::clock::{Change, Clock, Level, NodeClock};

use crate::support::Case;

pub(crate) const CASES: &[Case<()>] = &[
    ("c_dynamic", |()| compiled("clocks.c", "cc", &["-o"])),
    ("c_static", |()| compiled("clocks.c", "cc", &["-static", "-o"])),
    ("rust_static", |()| compiled("clocks.rs", "rustc", &["-Ctarget-feature=+crt-static", "-o"])),
    ("go_static", |()| compiled("clocks.go", "go", &["build", "-o"])),
    ("jvm", |()| interpreted("java", &["-Xint", "-XX:TieredStopAtLevel=1"], "Clocks.java")),
    ("python", |()| interpreted("python3", &[], "clocks.py")),
];

/// What each of them waits for by its own clock.
const WAIT: Duration = Duration::from_millis(400);
const HOUR_NS: i64 = 3_600_000_000_000;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/programs").join(name)
}

fn compiled(name: &str, compiler: &str, arguments: &[&str]) {
    let program = std::env::temp_dir().join(format!("nemesis-clock-{}-{name}", std::process::id()));
    let mut command = Command::new(compiler);
    command.args(arguments).arg(&program).arg(source(name)).env("CGO_ENABLED", "0");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            watch(Command::new(&program));
            std::fs::remove_file(program).expect("the compiler made it");
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            println!(
                "skipped: {compiler} {}: {}",
                arguments.join(" "),
                text.lines().next().unwrap_or_default()
            );
        }
        Err(error) => println!("skipped: {compiler}: {error}"),
    }
}

fn interpreted(interpreter: &str, arguments: &[&str], name: &str) {
    match Command::new(interpreter).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {
            let mut command = Command::new(interpreter);
            command.args(arguments).arg(source(name));
            watch(command);
        }
        Ok(status) => println!("skipped: {interpreter}: {status}"),
        Err(error) => println!("skipped: {interpreter}: {error}"),
    }
}

/// Its time of day is an hour ahead, and it waits by a clock at eight times the speed.
fn watch(mut command: Command) {
    let clock = NodeClock::new(Level::Waits).expect("a memfd can be made");
    clock.bend(Clock::Realtime, Change::Step { offset_ns: HOUR_NS }).expect("bent");
    clock.bend(Clock::Monotonic, Change::Rate { percent: 800 }).expect("bent");
    let after = Clock::Realtime.now_ns().expect("a clock");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = clock.spawn(command).expect("hooked");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let said: i64 = lines.next().expect("a line").expect("text").parse().expect("a number");
    let before = Clock::Realtime.now_ns().expect("a clock");
    let began = Instant::now();
    assert_eq!(lines.next().expect("a line").expect("text"), "done");
    let took = began.elapsed();
    assert!(child.wait().expect("ours").success());
    // One that counts in milliseconds rounds down.
    assert!(
        said >= after + HOUR_NS - 1_000_000 && said <= before + HOUR_NS,
        "{said} from {after} to {before}"
    );
    assert!(took < WAIT, "{WAIT:?} by its clock took {took:?}");
}
