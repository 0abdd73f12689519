//! Waits for a child, reaps whatever else ends, and passes signals on.
//!
//! Both outer processes of the sandbox do nothing else. A signal from the terminal reaches every process of its
//! foreground group by itself, so only what another process sent is passed on: once is enough.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The wishes that are passed on.
const PASSED_ON: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Signals held back, to be read one after the other; gives the mask from before.
///
/// Called before the fork, so that a child that ends at once is not missed.
pub(super) fn hold_signals() -> nix::Result<SigSet> {
    // Whoever started us may have asked the kernel to reap children unseen.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held()), Some(&mut before))?;
    Ok(before)
}

/// Gives a process of the sandbox its signals back.
pub(super) fn release_signals(before: &SigSet) -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(before), None)
}

/// Waits until `child` has ended and leaves with its exit status, 128 + n for signal n.
pub(super) fn leave_with(child: Pid) -> ! {
    match supervise(child) {
        Ok(never) => match never {},
        // Neither call fails on descriptors and children that are ours. If one does, the child must not go on alone.
        Err(errno) => {
            let _ = kill(child, Signal::SIGKILL);
            eprintln!("error: failed to wait for the sandbox: {errno}");
            std::process::exit(255)
        }
    }
}

/// Whether the process at the other end of this pipe has ended.
pub(super) fn has_ended(alive: &OwnedFd) -> nix::Result<bool> {
    let mut fds = [PollFd::new(alive.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

fn supervise(child: Pid) -> nix::Result<Infallible> {
    let signals = SignalFd::with_flags(&held(), SfdFlags::SFD_CLOEXEC)?;
    loop {
        let Some(info) = signals.read_signal()? else { continue };
        let signal = Signal::try_from(info.ssi_signo as i32)?;
        if signal == Signal::SIGCHLD {
            if let Some(status) = reap(child)? {
                std::process::exit(status);
            }
        } else if info.ssi_code != libc::SI_KERNEL {
            match kill(child, signal) {
                // It has ended, and the news is on its way.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Reaps all that has ended; the exit status if the child was among them.
fn reap(child: Pid) -> nix::Result<Option<i32>> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => found = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => found = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(found),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn held() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    for signal in PASSED_ON {
        set.add(signal);
    }
    set
}
