//! Starts a program under the hook: at its first instruction it is stopped, shown the other vDSO, and let go.
//!
//! ```text
//! fork ─ keep the page's descriptor ─ ask to be traced ─ [filter] ─ exec ⏸ hook ─┬─ detach                        Reads
//!                                                                               └─ detach stopped, seize, trace  Waits
//! ```
//! The process asks to be traced by the thread that started it, so all of this is one thread's work. It must not stop
//! itself before exec: whoever started it waits for exec, and would wait for ever.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::Level;
use super::child::{Child, Ended, open_pidfd, pid_of};
use super::filter;
use super::inject;
use super::page::Page;
use super::tracee::Tracee;
use super::tracer::{self, Tracer};

/// Starts a program under a control page.
pub(super) fn launch(mut command: Command, level: Level, page: &Arc<Page>) -> io::Result<Child> {
    match level {
        Level::Reads => start(&mut command, level, page).map(Child::ours),
        Level::Waits => traced(command, page),
    }
}

/// A program at its first instruction, hooked and, with [`Level::Reads`], let go.
fn start(command: &mut Command, level: Level, page: &Arc<Page>) -> io::Result<std::process::Child> {
    let descriptor = page.descriptor().as_raw_fd();
    let mut filter = (level == Level::Waits).then(filter::program);
    let prepare = move || {
        // SAFETY: the calls take integers. The page's descriptor exists here as it does in the harness, until exec.
        let inherited = unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
        if inherited < 0 {
            return Err(io::Error::last_os_error());
        }
        ptrace::traceme()?;
        filter.as_mut().map_or(Ok(()), |filter| filter::install(filter))
    };
    // SAFETY: between fork and exec it makes three system calls on what it owns, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn()?;
    let tracee = Tracee(pid_of(&child));
    let hooked = hook(tracee, level, descriptor);
    if let Err(error) = hooked {
        // Traced as it is, it must not be left behind. It may have ended by itself.
        let _ = child.kill();
        let _ = tracee.wait();
        return Err(io::Error::new(error.kind(), format!("failed to hook its clocks: {error}")));
    }
    Ok(child)
}

fn hook(tracee: Tracee, level: Level, descriptor: i32) -> io::Result<()> {
    match tracee.wait()? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
        other => return Err(io::Error::other(format!("it was to stop at its beginning, but: {other:?}"))),
    }
    inject::hook(tracee, descriptor, level == Level::Reads)?;
    match level {
        Level::Reads => Ok(ptrace::detach(tracee.0, None)?),
        Level::Waits => tracer::seize(tracee.0),
    }
}

/// Starts a program on a thread that will trace it.
fn traced(mut command: Command, page: &Arc<Page>) -> io::Result<Child> {
    let (started, told) = mpsc::sync_channel(1);
    let page = Arc::clone(page);
    let ended = Arc::new(Ended::default());
    thread::Builder::new().name("clock tracer".into()).spawn({
        let ended = Arc::clone(&ended);
        move || {
            let child = start(&mut command, Level::Waits, &page)
                .and_then(|child| Ok((open_pidfd(pid_of(&child))?, child)));
            let leader = child.as_ref().ok().map(|(_, child)| pid_of(child));
            // Whoever asked for it waits. If it failed, or nobody waits, the end of this thread ends the process.
            if let (Ok(()), Some(leader)) = (started.send(child), leader) {
                Tracer::new(leader, page, ended).run();
            }
        }
    })?;
    let (pidfd, child) =
        told.recv().map_err(|_| io::Error::other("the thread that was to start it panicked"))??;
    Ok(Child::traced(child, ended, pidfd))
}
