//! A directory to mount on, and a program that uses files as it is told.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nemesis::disk::{Action, CAPACITY_BYTES, DEVICE, Disk, FaultyDisk, Operation, Pattern, Rule};
use nemesis::net::{Request, enter};

/// Names the role in which a test starts its own binary again.
const ROLE: &str = "DISK_TEST_ROLE";

/// The exit status of a program that stopped because its disk failed it.
const STOPPED: i32 = 74;

/// A directory that goes with the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The pid is that of a small namespace, so it alone would not be unique.
        let unique = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), rand_suffix());
        let path = std::env::temp_dir().join(format!("disk-test-{}-{}-{}", unique.0, unique.1, unique.2));
        fs::create_dir(&path).expect("the temporary directory can be written to");
        Self(path)
    }
}

/// Unlike for two sandboxes at once.
fn rand_suffix() -> u64 {
    let mut bytes = [0; 8];
    let mut source = File::open("/dev/urandom").expect("every Linux has it");
    source.read_exact(&mut bytes).expect("it never ends");
    u64::from_ne_bytes(bytes)
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A disk, and the directory that it is mounted on.
pub(crate) struct Mounted {
    // Dropped first: a directory that is mounted on cannot be removed.
    pub(crate) disk: Disk,
    pub(crate) at: Directory,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        Self::with_capacity(CAPACITY_BYTES)
    }

    pub(crate) fn with_capacity(bytes: u64) -> Self {
        let at = Directory::new();
        let disk = Disk::mount(Path::new(DEVICE), &at.0, bytes).unwrap_or_else(|error| panic!("{error}"));
        Self { disk, at }
    }

    /// Lets a program do something with the files in the data directory, and gives what it says.
    pub(crate) fn run(&self, script: &str) -> String {
        let output = program(&self.disk.data(), script).output().expect("a test can start its own binary");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).expect("the program writes text").trim().to_owned()
    }

    pub(crate) fn spawn(&self, script: &str) -> Child {
        let mut command = program(&self.disk.data(), script);
        command.stdout(Stdio::piped()).spawn().expect("a test can start its own binary")
    }
}

/// This binary again, as a program in `directory` that does what the script says. See [`play`].
pub(crate) fn program(directory: &Path, script: &str) -> Command {
    // The path would be that of another process where `/proc` is the outer one.
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.env(ROLE, "program").arg(script).current_dir("/").arg(directory).stdin(Stdio::null());
    command
}

/// The role that this process was started in by a test.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Does what a script says, one thing after the other: `write log 0 hello; sync log; cat log`.
pub(crate) fn play() -> i32 {
    if role().as_deref() == Some(SANDBOX) {
        return wait_in_a_sandbox();
    }
    let mut arguments = std::env::args().skip(1);
    let (script, directory) = (arguments.next().expect("a script"), arguments.next().expect("a directory"));
    for line in script.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        if let Err(error) = step(Path::new(&directory), line) {
            println!("{line}: {}", error.raw_os_error().map_or(error.to_string(), errno));
        }
        std::io::stdout().flush().expect("the test reads");
    }
    0
}

const SANDBOX: &str = "sandbox";

/// This binary again, in a sandbox of its own, where a program waits for a sync that takes a minute. It says `ready`,
/// and then waits as well, or kills itself if it is told so.
pub(crate) fn sandbox(end: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.env(ROLE, SANDBOX).arg(end).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn wait_in_a_sandbox() -> i32 {
    let request = Request { tun: crate::net_support::tun(), host_listeners: Vec::new() };
    let _sandbox = enter(&request).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    let mounted = Mounted::new();
    println!("{}", mounted.at.0.display());
    let delay = Action::Delay(std::time::Duration::from_secs(60));
    let (operations, path) = (vec![Operation::Fsync], Pattern::new("*"));
    let id = mounted.disk.arm(Rule {
        operations,
        path,
        skip: 0,
        times: None,
        percent: 100,
        action: delay,
        seed: 1,
    });
    // It holds the pipe to the test open for as long as it lives.
    let mut child = program(&mounted.disk.data(), "write log 0 x; sync log").spawn().expect("its own binary");
    while mounted.disk.hits(id) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    println!("ready");
    if std::env::args().nth(1).as_deref() == Some("killed") {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("it is its own process");
    }
    // It has its answer in a minute, but the test ends this before.
    child.wait().expect("it is our child");
    0
}

fn errno(number: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(number))
}

fn step(directory: &Path, line: &str) -> std::io::Result<()> {
    let words = line.split_ascii_whitespace().collect::<Vec<_>>();
    let path = |index: usize| directory.join(words[index]);
    let open = |path: PathBuf| File::options().read(true).write(true).create(true).truncate(false).open(path);
    match words[0] {
        "write" => {
            let mut file = open(path(1))?;
            file.seek(SeekFrom::Start(words[2].parse().expect("an offset")))?;
            file.write_all(words[3].as_bytes())?;
        }
        // Many bytes of one kind.
        "fill" => {
            let length = words[2].parse().expect("a length");
            open(path(1))?.write_all(&vec![words[3].as_bytes()[0]; length])?;
        }
        "append" => {
            File::options().append(true).create(true).open(path(1))?.write_all(words[2].as_bytes())?;
        }
        "cut" => open(path(1))?.set_len(words[2].parse().expect("a length"))?,
        "sync" => File::open(path(1))?.sync_data()?,
        "mkdir" => fs::create_dir(path(1))?,
        "mv" => fs::rename(path(1), path(2))?,
        "rm" => fs::remove_file(path(1))?,
        "cat" => println!("{}", String::from_utf8_lossy(&fs::read(path(1))?)),
        "ls" => {
            let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
            let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            println!("{}", names.join(OsStr::new(" ")).to_string_lossy());
        }
        "map" => map(&open(path(1))?, words[2].as_bytes())?,
        "allocate" => nix::fcntl::fallocate(
            open(path(1))?,
            nix::fcntl::FallocateFlags::empty(),
            0,
            words[2].parse().expect("a length"),
        )?,
        "lock" => {
            let lock = nix::fcntl::Flock::lock(open(path(1))?, nix::fcntl::FlockArg::LockExclusiveNonblock);
            // Held to the end of the program.
            std::mem::forget(lock.map_err(|(_, errno)| errno)?);
        }
        // Appends and syncs for ever, as a database does; `unsynced` never syncs. It stops at the first error.
        "serve" => serve(&path(1), words.get(2) != Some(&"unsynced")),
        "say" => println!("{}", words[1]),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(60)),
        other => panic!("there is no `{other}`"),
    }
    Ok(())
}

fn serve(path: &Path, syncs: bool) {
    let serve = || -> std::io::Result<()> {
        let mut file = File::options().append(true).create(true).open(path)?;
        loop {
            file.write_all(b"0123456789abcdef")?;
            if syncs {
                file.sync_data()?;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    let _stopped = serve();
    std::process::exit(STOPPED);
}

/// Writes through a shared mapping, and makes it durable.
fn map(file: &File, text: &[u8]) -> std::io::Result<()> {
    let length = std::num::NonZeroUsize::new(4096).expect("not zero");
    let (protection, flags) = (
        nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE,
        nix::sys::mman::MapFlags::MAP_SHARED,
    );
    // SAFETY: the mapping is new, a page long, and the file has that page.
    unsafe {
        let mapped = nix::sys::mman::mmap(None, length, protection, flags, file, 0)?;
        std::ptr::copy_nonoverlapping(text.as_ptr(), mapped.as_ptr().cast(), text.len());
        nix::sys::mman::msync(mapped, length.get(), nix::sys::mman::MsFlags::MS_SYNC)?;
    }
    Ok(())
}
