//! A process of a node, whoever reaps it.
//!
//! A [`Child`] is used as the standard library's: it is signalled, asked whether it has ended, and waited for. Where its
//! waits are traced, a thread of its own reaps it, and nobody else may wait for it: the kernel would hand that waiter the
//! tracer's events.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Its standard input, if that was to be a pipe.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, if that was to be a pipe.
    pub stdout: Option<ChildStdout>,
    pid: Pid,
    reaper: Reaper,
}

/// Who waits for it.
#[derive(Debug)]
enum Reaper {
    Us(std::process::Child),
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only there are waits traced"))]
    Tracer {
        ended: Arc<Ended>,
        pidfd: OwnedFd,
    },
}

impl Child {
    /// Starts a program under no hook.
    ///
    /// # Errors
    ///
    /// As for [`Command::spawn`].
    pub fn plain(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self::ours)
    }

    /// A process that only this thread's process may wait for, and that is not traced.
    pub(super) fn ours(mut child: std::process::Child) -> Self {
        let pid = pid_of(&child);
        Self { stdin: child.stdin.take(), stdout: child.stdout.take(), pid, reaper: Reaper::Us(child) }
    }

    /// A process whose end the tracer tells.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn traced(mut child: std::process::Child, ended: Arc<Ended>, pidfd: OwnedFd) -> Self {
        let pid = pid_of(&child);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Self { stdin, stdout, pid, reaper: Reaper::Tracer { ended, pidfd } }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It has ended (ESRCH), or the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.reaper {
            // Only we reap it, so that the pid is its own.
            Reaper::Us(_) => Ok(kill(self.pid, signal)?),
            Reaper::Tracer { pidfd, .. } => send(pidfd, signal, None),
        }
    }

    /// SIGKILL. What has ended already is not there to be killed, and that is no error.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        match &mut self.reaper {
            Reaper::Us(child) => child.kill(),
            Reaper::Tracer { pidfd, .. } => match send(pidfd, Signal::SIGKILL, None) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                other => other,
            },
        }
    }

    /// How it ended, `None` while it runs.
    ///
    /// # Errors
    ///
    /// As for [`std::process::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.reaper {
            Reaper::Us(child) => child.try_wait(),
            Reaper::Tracer { ended, .. } => Ok(ended.look()),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// As for [`std::process::Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        // A program that reads to the end of its input would never end otherwise.
        self.stdin.take();
        match &mut self.reaper {
            Reaper::Us(child) => child.wait(),
            Reaper::Tracer { ended, .. } => Ok(ended.wait()),
        }
    }

    /// What its waits are interrupted by, if they are traced.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn nudger(&self) -> io::Result<Option<Nudger>> {
        match &self.reaper {
            Reaper::Us(_) => Ok(None),
            Reaper::Tracer { pidfd, .. } => pidfd.try_clone().map(|pidfd| Some(Nudger(pidfd))),
        }
    }
}

/// Lets all waits of a traced process begin anew, by its clock as it is then.
#[derive(Debug)]
#[cfg(target_arch = "x86_64")]
pub(super) struct Nudger(OwnedFd);

#[cfg(target_arch = "x86_64")]
impl Nudger {
    /// What a nudge carries, so that no other stop signal is taken for one: the letters of the word.
    pub(super) const MARK: usize = 0x6e_7564_6765;

    /// A process that is paused has its waits begin anew when it goes on, and one that has ended waits for nothing.
    pub(super) fn nudge(&self) -> io::Result<()> {
        match send(&self.0, Signal::SIGSTOP, Some(Self::MARK)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }
}

/// How a process ended, once it has.
#[derive(Debug, Default)]
pub(super) struct Ended {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Ended {
    fn look(&self) -> Option<ExitStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> ExitStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.changed.wait_while(status, |status| status.is_none());
        status.unwrap_or_else(PoisonError::into_inner).expect("it was waited for")
    }

    /// The first time counts.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn tell(&self, status: ExitStatus) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(status);
        self.changed.notify_all();
    }
}

pub(super) fn pid_of(child: &std::process::Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// A handle on a process that keeps meaning it.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = i32::try_from(opened).expect("descriptors fit an i32");
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) })
}

/// By descriptor: somebody else reaps the process, and its pid may be another's by now.
fn send(pidfd: &OwnedFd, signal: Signal, value: Option<usize>) -> io::Result<()> {
    // SAFETY: all zeroes are a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = signal as i32;
    info.si_code = libc::SI_QUEUE;
    let info_at = match value {
        None => std::ptr::null_mut(),
        Some(value) => {
            // The layout that the kernel gives queued signals: pid and uid of the sender, and then the value.
            let value_at = (&raw mut info).cast::<u8>().wrapping_add(24).cast::<usize>();
            // SAFETY: the struct is 128 bytes long, and the offset aligned for a word.
            unsafe { value_at.write(value) };
            &raw mut info
        }
    };
    // SAFETY: the kernel only reads the struct, if there is one.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, info_at, 0) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
