//! Looks at a mounted disk from outside: through the kernel, by a child that can be given up.
//!
//! Whoever serves a FUSE mount must not use it. If the server were killed while one of its own threads waits for an
//! answer, that thread would keep the connection open that it waits for, and nothing could ever end it. So a child looks,
//! with nothing open but a pipe; and if it does not answer in time, it is killed and not waited for.
//!
//! Between `fork` and `_exit` the child makes system calls and nothing else: another thread may have held the
//! allocator's lock when it was copied.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// How long a look may take on a busy machine, beside the delay that a rule adds.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// A file as a reader finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its size.
    pub bytes: u64,
    /// FNV-1a of its content.
    pub hash: u64,
}

/// What happened to a file that was made, written, synced, read back and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `open` with `O_CREAT`.
    pub create: Result<(), Errno>,
    /// `pwrite` of 4 KiB.
    pub write: Result<(), Errno>,
    /// `fdatasync`.
    pub sync: Result<(), Errno>,
    /// `pread`, after the file was opened again.
    pub read: Result<(), Errno>,
    /// How long the sync took.
    pub sync_time: Duration,
}

/// Reads files to their ends; `None` for those that do not exist.
pub(super) fn look(root: &Path, paths: &[String]) -> io::Result<Vec<Option<Seen>>> {
    let names = paths.iter().map(|path| c_path(&root.join(path))).collect::<io::Result<Vec<_>>>()?;
    let mut buffer = vec![0_u8; 1 << 16];
    let words = in_child(LOOK_MAX, move |out| {
        for name in &names {
            let (errno, bytes, hash) = read_all(name, &mut buffer);
            out.put([errno as u64, bytes, hash]);
        }
    })?;
    let seen = words.chunks_exact(3).map(|words| match Errno::from_raw(words[0] as i32) {
        Errno::UnknownErrno => Ok(Some(Seen { bytes: words[1], hash: words[2] })),
        Errno::ENOENT => Ok(None),
        errno => Err(errno.into()),
    });
    let seen = seen.collect::<io::Result<Vec<_>>>()?;
    if seen.len() == paths.len() { Ok(seen) } else { Err(gave_up()) }
}

/// Reads one byte of a file.
pub(super) fn byte(root: &Path, path: &str, offset: u64) -> io::Result<u8> {
    let name = c_path(&root.join(path))?;
    let words = in_child(LOOK_MAX, move |out| {
        let mut byte = [0];
        let errno = match open(&name, libc::O_RDONLY) {
            Ok(file) => result(pread(file, &mut byte, offset)),
            Err(errno) => errno,
        };
        out.put([errno as u64, u64::from(byte[0]), 0]);
    })?;
    match words[..] {
        [0, byte, _] => Ok(byte as u8),
        [errno, _, _] => Err(Errno::from_raw(errno as i32).into()),
        _ => Err(gave_up()),
    }
}

/// Makes a file and sees what happens to it. `delay` is what a sync is expected to take.
pub(super) fn probe(root: &Path, path: &str, delay: Duration) -> io::Result<Probe> {
    let name = c_path(&root.join(path))?;
    let words = in_child(LOOK_MAX + delay, move |out| {
        let mut bytes = [0x55; 4096];
        let file = match open(&name, libc::O_CREAT | libc::O_RDWR) {
            Ok(file) => file,
            Err(errno) => return out.put([errno as u64, 0, 0]),
        };
        out.put([0, 0, 0]);
        let write = pwrite(file, &bytes);
        out.put([result(write) as u64, 0, 0]);
        let began_ns = monotonic_ns();
        // SAFETY: a descriptor and nothing else.
        let synced = unsafe { libc::fdatasync(file) };
        out.put([result(synced as isize) as u64, monotonic_ns() - began_ns, 0]);
        // A file that is opened anew is read anew: the kernel drops what it had of it.
        let read =
            open(&name, libc::O_RDONLY).map_or_else(|errno| errno, |file| result(pread(file, &mut bytes, 0)));
        out.put([read as u64, 0, 0]);
        // SAFETY: a string that ends with a zero and outlives the call.
        unsafe { libc::unlink(name.as_ptr()) };
    })?;
    let step = |index: usize| match words.get(index * 3) {
        Some(0) => Ok(Ok(())),
        Some(&errno) => Ok(Err(Errno::from_raw(errno as i32))),
        None => Err(gave_up()),
    };
    let create = step(0)?;
    let Err(errno) = create else {
        let sync_time = Duration::from_nanos(words.get(7).copied().unwrap_or(0));
        return Ok(Probe { create, write: step(1)?, sync: step(2)?, read: step(3)?, sync_time });
    };
    let failed = Err(errno);
    Ok(Probe { create, write: failed, sync: failed, read: failed, sync_time: Duration::ZERO })
}

/// Makes a file and leaves it there, written and not synced.
pub(super) fn leave_unsynced(root: &Path, path: &str) -> io::Result<()> {
    let name = c_path(&root.join(path))?;
    let words = in_child(LOOK_MAX, move |out| {
        let errno = match open(&name, libc::O_CREAT | libc::O_WRONLY) {
            Ok(file) => result(pwrite(file, &[0x55; 4096])),
            Err(errno) => errno,
        };
        out.put([errno as u64, 0, 0]);
    })?;
    match words.first() {
        Some(0) => Ok(()),
        Some(&errno) => Err(Errno::from_raw(errno as i32).into()),
        None => Err(gave_up()),
    }
}

/// What a child has to say, three words at a time.
struct Out;

/// Where the child finds the pipe.
const OUT: RawFd = 0;

impl Out {
    fn put(&mut self, words: [u64; 3]) {
        let mut bytes = [0; 24];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        // SAFETY: the buffer is ours and has this length. Less than PIPE_BUF is written whole or not at all.
        unsafe { libc::write(OUT, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// Runs `work` in a child and gives the words that it put out by its end.
fn in_child(limit: Duration, work: impl FnOnce(&mut Out)) -> io::Result<Vec<u64>> {
    let (from_child, to_parent) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child makes system calls alone, and never returns.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // SAFETY: descriptors alone. Everything is closed but the pipe, the server's device first of all.
            unsafe {
                libc::dup2(to_parent.as_raw_fd(), OUT);
                libc::syscall(libc::SYS_close_range, OUT + 1, u32::MAX, 0);
            }
            work(&mut Out);
            // SAFETY: ends the child without running what the parent has registered for its own end.
            unsafe { libc::_exit(0) }
        }
    };
    drop(to_parent);
    let mut bytes = Vec::new();
    let ended = read_until(File::from(from_child), limit, &mut bytes);
    give_up(child);
    ended?;
    Ok(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect())
}

fn read_until(mut pipe: File, limit: Duration, bytes: &mut Vec<u8>) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 4096];
    loop {
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(gave_up()),
            Ok(_) => match pipe.read(&mut buffer)? {
                0 => return Ok(()),
                length => bytes.extend_from_slice(&buffer[..length]),
            },
            Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reaps a child, by force if need be. One that stands still in the kernel is left to the end of this process.
fn give_up(child: Pid) {
    let deadline = Instant::now() + Duration::from_millis(200);
    // Having closed the pipe it ends at once; a signal would do no harm and no good.
    let mut patience = 20;
    while let Ok(WaitStatus::StillAlive) = waitpid(child, Some(WaitPidFlag::WNOHANG)) {
        if patience == 0 {
            let _ = kill(child, Signal::SIGKILL);
        }
        patience -= i32::from(patience >= 0);
        if Instant::now() > deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn gave_up() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer")
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

// What follows runs in the child. It must not allocate.

fn read_all(name: &CString, buffer: &mut [u8]) -> (i32, u64, u64) {
    const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0100_0000_01b3;
    let file = match open(name, libc::O_RDONLY) {
        Ok(file) => file,
        Err(errno) => return (errno, 0, 0),
    };
    let (mut offset, mut hash) = (0_u64, FNV_OFFSET);
    loop {
        let length = pread(file, buffer, offset);
        if length <= 0 {
            // SAFETY: the descriptor is ours.
            unsafe { libc::close(file) };
            return (result(length), offset, hash);
        }
        for &byte in buffer.iter().take(length as usize) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        offset += length as u64;
    }
}

fn open(name: &CString, flags: i32) -> Result<RawFd, i32> {
    // SAFETY: a string that ends with a zero and outlives the call.
    let file = unsafe { libc::open(name.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    if file < 0 { Err(result(-1)) } else { Ok(file) }
}

fn pread(file: RawFd, buffer: &mut [u8], offset: u64) -> isize {
    // SAFETY: the buffer is ours and has this length.
    unsafe { libc::pread(file, buffer.as_mut_ptr().cast(), buffer.len(), offset as libc::off_t) }
}

fn pwrite(file: RawFd, bytes: &[u8]) -> isize {
    // SAFETY: the buffer is ours and has this length.
    unsafe { libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), 0) }
}

/// 0, or the errno of a call that has just failed.
fn result(returned: isize) -> i32 {
    // SAFETY: the location is this thread's own.
    if returned < 0 { unsafe { *libc::__errno_location() } } else { 0 }
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // The raw call: the time that is measured must not depend on a clock that a fault may touch.
    // SAFETY: the place is ours, and of the type that the kernel writes.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
