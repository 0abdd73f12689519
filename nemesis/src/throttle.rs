//! Slows a process by stopping it for most of the time: SIGSTOP and SIGCONT in turn, from a thread.
//!
//! A quota of a control group would be smoother, but needs the cpu controller delegated to whoever runs this, which an
//! ordinary user has on few machines. Signals need nothing. They go through a pidfd, so that a pid that is used again is
//! never hit; the thread ends with the process, or when the throttle is dropped, and then the process goes on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// One stop and one run. Well below a heartbeat, so that the node is slow and not now and then away.
const PERIOD: Duration = Duration::from_millis(50);

/// Slows a process until it is dropped.
#[derive(Debug)]
pub struct Throttle {
    end: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Throttle {
    /// Lets the process run for so many per cent of the time.
    ///
    /// # Errors
    ///
    /// There is no such process, or no thread could be started.
    pub fn start(pid: Pid, percent: u32) -> io::Result<Self> {
        let process = open(pid)?;
        let end = Arc::new(AtomicBool::new(false));
        let runs = PERIOD * percent.min(100) / 100;
        let thread = thread::Builder::new().name("throttle".into()).spawn({
            let end = Arc::clone(&end);
            move || {
                while !end.load(Ordering::Relaxed) && signal(&process, Signal::SIGSTOP).is_ok() {
                    thread::sleep(PERIOD - runs);
                    if signal(&process, Signal::SIGCONT).is_err() {
                        return;
                    }
                    thread::sleep(runs);
                }
            }
        })?;
        Ok(Self { end, thread: Mutex::new(Some(thread)) })
    }

    /// Lets the process go on; when it returns, nobody stops it any more.
    pub fn end(&self) {
        // The last thing that the thread sends is always a SIGCONT.
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It does not panic: it sleeps and signals.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.end();
    }
}

fn open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = i32::try_from(opened).expect("descriptors fit an i32");
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call; a null siginfo asks for that of kill(2).
    let sent = unsafe {
        let (fd, number) = (process.as_raw_fd(), signal as libc::c_int);
        libc::syscall(libc::SYS_pidfd_send_signal, fd, number, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
