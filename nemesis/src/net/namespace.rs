//! Enters new namespaces, and works inside one of them from a thread of its own.
//!
//! A network namespace belongs to a *thread*. To make one, or to work in one, a thread is started that ends soon;
//! what it made lives on as a descriptor.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use super::step::{InStep, Step, StepError};

/// Everything that a sandbox has of its own, except users.
const SANDBOX: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);

/// Moves this process, and the next child's pid, into new namespaces, with the rights it has.
pub(super) fn unshare_as_root() -> Result<(), StepError> {
    unshare(SANDBOX).step(Step::Namespaces)
}

/// The same with a user namespace first, in which this user is root. Impossible once the process has threads.
pub(super) fn unshare_as_user() -> Result<(), StepError> {
    become_root_of(SANDBOX)
}

/// Moves this process into these new namespaces and into a user namespace in which this user is root.
pub(crate) fn become_root_of(namespaces: CloneFlags) -> Result<(), StepError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(namespaces.union(CloneFlags::CLONE_NEWUSER)).step(Step::UserNamespaces)?;
    // Without giving up setgroups first, the kernel refuses a group map from an ordinary user.
    fs::write("/proc/self/setgroups", "deny").step(Step::MapIds)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step(Step::MapIds)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step(Step::MapIds)
}

/// Moves the current thread alone into a new network namespace.
pub(super) fn unshare_network() -> Result<(), StepError> {
    unshare(CloneFlags::CLONE_NEWNET).step(Step::NodeNamespace)
}

/// The network namespace of the current thread.
pub(super) fn current_network() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Moves the current thread, or a process between fork and exec, into a network namespace.
pub(super) fn enter_network(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Runs `work` on a thread of its own, and passes its panic on.
pub(super) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, work)?;
        Ok(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
