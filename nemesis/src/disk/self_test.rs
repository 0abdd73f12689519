//! Whether this machine can have faulty disks: one is mounted, written to, loses its power, and is read back.
//!
//! A child does it in a mount namespace of its own, through the same code as a run, and with a deadline: a mount whose
//! server does not work blocks whoever looks at it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, geteuid, pipe2};

use super::mount::Disk;
use super::probe;
use super::rules::Pattern;
use super::state::DATA;
use super::{FaultyDisk, Mode, Unsynced};
use crate::net::become_root_of;
use crate::target::Rng;

/// The FUSE device.
pub const DEVICE: &str = "/dev/fuse";
/// How long it may take on a busy machine.
const LIMIT_MS: u16 = 20_000;
const CAPACITY_BYTES: u64 = 1 << 20;

/// Why there are no faulty disks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Reason {
    /// What failed.
    pub what: String,
    /// What a person can do about it.
    pub help: String,
}

/// Tries the whole of it. It forks, so it must be called before the process has any thread.
///
/// # Errors
///
/// The step that failed, and what to do about it.
pub fn self_test() -> Result<(), Reason> {
    let directory = std::env::temp_dir().join(format!("faulty-disk-{}", std::process::id()));
    fs::create_dir(&directory)
        .map_err(|error| trouble(format!("failed to create {}: {error}", directory.display())))?;
    let outcome = in_child(|| try_in_own_namespace(&directory));
    // The mount went with the child.
    let _ = fs::remove_dir(&directory);
    outcome
}

fn trouble(what: impl Into<String>) -> Reason {
    Reason { what: what.into(), help: "leave out faults on disks to do without".to_owned() }
}

fn in_child(work: impl FnOnce() -> Result<(), Reason>) -> Result<(), Reason> {
    let failed = |errno: Errno| trouble(format!("failed to fork: {errno}"));
    let (from_child, to_parent) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    // SAFETY: the process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Child => {
            drop(from_child);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let said = match outcome {
                Ok(Ok(())) => "ok\n".to_owned(),
                Ok(Err(Reason { what, help })) => format!("{what}\n{help}"),
                Err(_) => "the test of the disk panicked\n".to_owned(),
            };
            let _ = File::from(to_parent).write_all(said.as_bytes());
            // SAFETY: ends the child without running what the parent has registered for its own end.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(to_parent);
            let mut fds = [PollFd::new(from_child.as_fd(), PollFlags::POLLIN)];
            let answered = poll(&mut fds, PollTimeout::from(LIMIT_MS)).is_ok_and(|ready| ready > 0);
            let mut said = String::new();
            if answered {
                let _ = File::from(from_child).read_to_string(&mut said);
            }
            // Its connection ends with it, and so does whatever waits on that.
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            match said.split_once('\n') {
                Some(("ok", _)) => Ok(()),
                Some((what, help)) if !help.is_empty() => {
                    Err(Reason { what: what.to_owned(), help: help.to_owned() })
                }
                Some((what, _)) => Err(trouble(what)),
                None => Err(trouble("the disk did not answer in time")),
            }
        }
    }
}

fn try_in_own_namespace(at: &Path) -> Result<(), Reason> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    own_mounts()
        .and_then(|()| {
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|errno| errno.to_string())
        })
        .map_err(|error| Reason {
            what: format!("failed to get a mount namespace: {error}"),
            help: "disks need a sandbox; `harness doctor` says what keeps this machine from having one"
                .to_owned(),
        })?;
    let disk = Disk::mount(Path::new(DEVICE), at, CAPACITY_BYTES)
        .map_err(|error| Reason { what: error.to_string(), help: error.help().to_owned() })?;
    let probe = disk
        .probe(&Pattern::new("self-test"), Duration::ZERO)
        .map_err(|error| trouble(format!("failed to use a mounted disk: {error}")))?;
    let steps =
        [("create", probe.create), ("write", probe.write), ("sync", probe.sync), ("read", probe.read)];
    for (step, outcome) in steps {
        outcome.map_err(|errno| trouble(format!("failed to {step} a file on a mounted disk: {errno}")))?;
    }
    loses_power(&disk, at)
}

/// A file that is written and not synced must be there before, and not after.
fn loses_power(disk: &Disk, at: &Path) -> Result<(), Reason> {
    let path = format!("{DATA}/unsynced");
    probe::leave_unsynced(at, &path)
        .map_err(|error| trouble(format!("failed to write a file on a mounted disk: {error}")))?;
    let exists = || {
        let seen = disk.look(std::slice::from_ref(&path));
        seen.map(|seen| seen[0].is_some())
            .map_err(|error| trouble(format!("failed to look at a disk: {error}")))
    };
    if !exists()? {
        return Err(trouble("a file that was written on a mounted disk cannot be seen there"));
    }
    disk.lose_power(Mode::Ext4, Unsynced::Lost, &mut Rng::new(0, 0));
    if exists()? {
        return Err(trouble("a power loss did not take an unsynced file"));
    }
    Ok(())
}

/// As root with the rights that it has, else as the root of a user namespace.
fn own_mounts() -> Result<(), String> {
    if geteuid().is_root() {
        return unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| errno.to_string());
    }
    become_root_of(CloneFlags::CLONE_NEWNS).map_err(|error| error.to_string())
}
