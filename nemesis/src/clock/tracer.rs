//! The thread that traces a node's waits: it starts the process, hooks it, and lives as long as it does.
//!
//! Tracing binds a process to the *thread* that traces it, and a tracer's events come to whoever waits for them, so one
//! thread starts the process, sees all that happens to it and reaps it; everybody else learns from [`Ended`] how it ended.
//!
//! ```text
//! spawn ─ exec ─ hook ─ detach stopped ─ seize ─ go on ─┬─ a wait begins  → rewrite its timeout
//!                                                       ├─ it ends        → give the arguments back
//!                                                       ├─ exec           → hook again
//!                                                       ├─ SIGSTOP        → let it stop, and listen
//!                                                       └─ nudge          → interrupt all waits, to be made again
//! ```
//! Seizing is what lets a SIGSTOP take hold and SIGCONT undo it. If the thread ends, the kernel kills what it traced.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::child::{Ended, Nudger};
use super::inject;
use super::page::Page;
use super::tracee::Tracee;
use super::waits::Wait;

/// Goes from a process that is stopped at its first instruction, hooked, to one that runs and is seized.
pub(super) fn seize(pid: Pid) -> io::Result<()> {
    ptrace::detach(pid, Signal::SIGSTOP)?;
    // As its parent we are told when it has stopped.
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED))? {
        WaitStatus::Stopped(..) => {}
        other => return Err(io::Error::other(format!("it was to stop, but: {other:?}"))),
    }
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACESECCOMP
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options)?;
    Ok(kill(pid, Signal::SIGCONT)?)
}

/// Traces a process until it and all that it started have ended.
pub(super) struct Tracer {
    leader: Pid,
    page: Arc<Page>,
    ended: Arc<Ended>,
    threads: HashMap<Pid, Thread>,
}

/// What is known of a thread.
#[derive(Debug, Default)]
struct Thread {
    /// Its wait, or its last one.
    wait: Option<Wait>,
    /// It is on its way out of an exec.
    in_exec: bool,
}

impl Thread {
    /// Whether its next stop must be the end of its system call.
    fn is_to_be_seen_out(&self) -> bool {
        self.in_exec || self.wait.is_some_and(|wait| wait.is_rewritten)
    }
}

impl Tracer {
    pub(super) fn new(leader: Pid, page: Arc<Page>, ended: Arc<Ended>) -> Self {
        let threads = HashMap::from([(leader, Thread::default())]);
        Self { leader, page, ended, threads }
    }

    /// Sees the process out.
    pub(super) fn run(mut self) {
        loop {
            let mut status = 0;
            // Not `waitpid` of nix: it has no word for a stop signal that comes with an event.
            // SAFETY: the call writes a status to the integer that it is given.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            if pid < 0 {
                match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    // There is nobody left.
                    _ => break,
                }
            }
            let pid = Pid::from_raw(pid);
            if libc::WIFSTOPPED(status) {
                // A thread that was killed meanwhile cannot be told to go on, and needs not.
                let _gone = self.stopped(pid, libc::WSTOPSIG(status), status >> 16);
            } else {
                self.threads.remove(&pid);
                if pid == self.leader {
                    self.ended.tell(ExitStatus::from_raw(status));
                }
            }
        }
        // Reached without its end only if the kernel has taken the process from us, which leaves nothing to report.
        self.ended.tell(ExitStatus::from_raw(libc::SIGKILL));
    }

    fn stopped(&mut self, pid: Pid, signal: i32, event: i32) -> io::Result<()> {
        const SYSTEM_CALL_STOP: i32 = libc::SIGTRAP | 0x80;
        let tracee = Tracee(pid);
        let descriptor = self.page.descriptor().as_raw_fd();
        let thread = self.threads.entry(pid).or_default();
        let mut deliver = 0;
        match (event, signal) {
            (libc::PTRACE_EVENT_SECCOMP, _) => {
                thread.wait = Wait::begin(tracee, &self.page, thread.wait.as_ref()).ok();
            }
            // The kernel sets the result of exec only on its way out, over whatever is there before.
            (libc::PTRACE_EVENT_EXEC, _) => *thread = Thread { wait: None, in_exec: true },
            (0, SYSTEM_CALL_STOP) => {
                if std::mem::take(&mut thread.in_exec) {
                    hook_again(tracee, descriptor);
                } else if let Some(wait) = thread.wait.as_mut().filter(|wait| wait.is_rewritten) {
                    wait.end(tracee, &self.page)?;
                }
            }
            (libc::PTRACE_EVENT_STOP, _) => {
                if let Some(wait) = &mut thread.wait {
                    wait.interrupt(tracee)?;
                }
                if is_stop(signal) {
                    // Stopped as anybody else would be, until SIGCONT.
                    return request(libc::PTRACE_LISTEN, pid, 0);
                }
            }
            (0, libc::SIGSTOP) if is_nudge(pid) => {
                self.interrupt_all(pid);
                let thread = self.threads.entry(pid).or_default();
                if let Some(wait) = &mut thread.wait {
                    wait.interrupt(tracee)?;
                }
            }
            (0, signal) => {
                deliver = signal;
                if let Some(wait) = thread.wait.as_mut().filter(|_| signal != libc::SIGCONT) {
                    wait.give_up();
                }
            }
            // A thread or process was born, and is traced from its own first stop on.
            _ => {}
        }
        let seen_out = self.threads.get(&pid).is_some_and(Thread::is_to_be_seen_out);
        request(if seen_out { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT }, pid, deliver)
    }

    /// Interrupts the waits of all other threads; the waits are made again at once, by the clock as it is now.
    fn interrupt_all(&self, but: Pid) {
        for &pid in self.threads.keys().filter(|&&pid| pid != but) {
            // One that has ended waits no more.
            let _gone = ptrace::interrupt(pid);
        }
    }
}

/// Hooks a program that was just executed. If that fails, its clocks are true, and whoever looks at what it has mapped
/// sees that.
fn hook_again(tracee: Tracee, descriptor: RawFd) {
    if let Err(error) = inject::hook(tracee, descriptor, false) {
        tracing::warn!(pid = %tracee.0, %error, "a program is executed without the clock hook");
    }
}

fn is_stop(signal: i32) -> bool {
    [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal)
}

fn is_nudge(pid: Pid) -> bool {
    let Ok(info) = ptrace::getsiginfo(pid) else { return false };
    // SAFETY: the kernel filled the whole struct, and what is no value is not looked at.
    let value = unsafe { info.si_value() };
    info.si_code == libc::SI_QUEUE && value.sival_ptr as usize == Nudger::MARK
}

fn request(request: libc::c_uint, pid: Pid, data: i32) -> io::Result<()> {
    // SAFETY: these requests take a number and touch no memory of ours.
    match unsafe { libc::ptrace(request, pid.as_raw(), 0, data as libc::c_long) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
