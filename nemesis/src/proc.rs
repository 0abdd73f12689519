//! Reads what the kernel says about a process from `/proc`: the evidence for faults on processes.
//!
//! It shares nothing with the code that sends signals, so a signal that was not sent, not delivered or ignored
//! shows here.
//!
//! Pids are those of this process's own pid namespace. Where the sandbox could not mount a `/proc` of its own and
//! goes on with the outer one, the same process has another number there, and the same number is another process;
//! so each pid is translated by way of a pidfd first.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// Identifies one process for as long as the machine runs: a pid may be used again, with another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pid.
    pub pid: Pid,
    /// When it started, in clock ticks since the machine booted.
    pub start_ticks: u64,
}

/// One line of `/proc/PID/stat` or `/proc/PID/task/TID/stat`, as far as faults need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R` running, `S` sleeping, `T` stopped by a signal, `t` the same of a process that is traced, `Z` dead and not
    /// reaped, ….
    pub state: char,
    /// When it started, in clock ticks since the machine booted.
    pub start_ticks: u64,
    /// Time on the processor, user and system, in clock ticks. Of a process: all its threads together.
    pub cpu_ticks: u64,
}

impl Stat {
    /// Whether it can still run; a zombie only waits to be reaped.
    pub fn is_alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether a signal has stopped it. A process whose waits are traced for its clock's sake shows another letter; it
    /// shows it for an instant at each wait as well, so one look at one thread proves nothing.
    pub fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// The path of a process's line, for receipts and messages.
pub fn stat_path(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/stat"))
}

/// The process with this pid, `None` if there is none.
///
/// # Errors
///
/// `/proc` cannot be read, or its line is not as the kernel documents it.
pub fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    match in_proc(pid)? {
        Some(number) => read(&stat_path(number)),
        None => Ok(None),
    }
}

/// Every thread of the process, empty if there is no such process.
///
/// # Errors
///
/// As for [`stat`].
pub fn threads(pid: Pid) -> io::Result<Vec<Stat>> {
    let Some(number) = in_proc(pid)? else { return Ok(Vec::new()) };
    let directory = PathBuf::from(format!("/proc/{number}/task"));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(within(&directory, &error)),
    };
    let mut threads = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => threads.extend(read(&entry.path().join("stat"))?),
            // A thread that ends while the directory is read is no longer there to be counted.
            Err(error) if is_gone(&error) => (),
            Err(error) => return Err(within(&directory, &error)),
        }
    }
    Ok(threads)
}

/// Another file of the process in `/proc`, `None` if there is no such process or file.
///
/// # Errors
///
/// It cannot be read.
pub fn text(pid: Pid, name: &str) -> io::Result<Option<String>> {
    let Some(number) = in_proc(pid)? else { return Ok(None) };
    let path = PathBuf::from(format!("/proc/{number}/{name}"));
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(within(&path, &error)),
    }
}

/// The number of the process in the mounted `/proc`, `None` if there is no such process.
fn in_proc(pid: Pid) -> io::Result<Option<Pid>> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if opened < 0 {
        let error = io::Error::last_os_error();
        return if is_gone(&error) { Ok(None) } else { Err(error) };
    }
    let number = i32::try_from(opened).expect("descriptors fit an i32");
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let text = fs::read_to_string(&path).map_err(|error| within(&path, &error))?;
    let field = text.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    // -1 once it is reaped, 0 if that `/proc` cannot see it at all.
    let seen = field.and_then(|field| field.parse::<i32>().ok()).filter(|&seen| seen > 0);
    Ok(seen.map(Pid::from_raw))
}

fn read(path: &Path) -> io::Result<Option<Stat>> {
    match fs::read(path) {
        Ok(line) => parse(&line).map(Some).ok_or_else(|| {
            within(path, &io::Error::new(io::ErrorKind::InvalidData, "not a line as proc_pid_stat(5) has it"))
        }),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(within(path, &error)),
    }
}

/// The file is gone (ENOENT), or it went between open and read (ESRCH).
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn within(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
}

/// Fields as numbered by proc_pid_stat(5), from 1: state 3, utime 14, stime 15, starttime 22.
fn parse(line: &[u8]) -> Option<Stat> {
    // The second field is the name in parentheses, chosen by the program: it may hold spaces and parentheses,
    // so the fields are counted from the last one that closes.
    let name_end = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
    let fields = rest.split_ascii_whitespace().collect::<Vec<_>>();
    let field = |number: usize| fields.get(number - 3).copied();
    let ticks = |number: usize| field(number)?.parse::<u64>().ok();
    Some(Stat {
        state: field(3)?.chars().next()?,
        start_ticks: ticks(22)?,
        cpu_ticks: ticks(14)? + ticks(15)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"77 (a) R 1 (b) T 1 77 77 0 -1 4194304 100 0 0 0 12 5 0 0 20 0 1 0 98765 1000 50 0\n";
        assert_eq!(parse(line), Some(Stat { state: 'T', start_ticks: 98_765, cpu_ticks: 17 }));
    }

    #[test]
    fn a_short_line_is_refused() {
        assert_eq!(parse(b"77 (sh) S 1 77"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process_runs_and_its_threads_are_seen() {
        let own = stat(Pid::this()).expect("/proc is readable").expect("this process exists");
        assert!(own.is_alive());
        // The test harness runs each test in a thread of its own beside the main thread.
        assert!(threads(Pid::this()).expect("/proc is readable").len() > 1);
    }

    #[test]
    fn a_process_that_does_not_exist_is_none() {
        // Linux never gives a pid above 2^22.
        let nobody = Pid::from_raw(1 << 23);
        assert_eq!(stat(nobody).expect("absence is no error"), None);
        assert!(threads(nobody).expect("absence is no error").is_empty());
    }
}
