//! What this machine lets faults act on, and why not. `harness doctor`, `harness list faults` and every run ask here, so they
//! agree.
//!
//! Nobody asks the kernel whether it *would* allow something: each capability is tried out, by the same code that a run
//! uses, and taken back.

use std::fmt;
use std::path::Path;

use nix::unistd::Pid;

use crate::clock;
use crate::disk;
use crate::faults::Needs;
use crate::net::doctor;
use crate::proc;

/// Why the machine lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What failed.
    pub reason: String,
    /// What a person can do about it.
    pub help: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What was found by trying: how the machine has it, or why not.
pub type Found = Result<String, Lack>;

/// Tries one of them out; the sandbox has been tried by then.
type Trial = fn(&doctor::Report) -> Found;

/// How each capability of the machine is tried, in the order shown by `harness doctor`. What depends on the system under
/// test is not here.
const TRIALS: &[(Needs, Trial)] =
    &[(Needs::Processes, processes), (Needs::Links, links), (Needs::Clocks, clocks), (Needs::Disks, disks)];

/// What a machine has.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The sandbox, step by step.
    pub sandbox: doctor::Report,
    found: Vec<(Needs, Found)>,
}

impl Capabilities {
    /// Tries everything, with this TUN device. It forks, so it must be called before the process has any thread.
    pub fn probe(tun: &Path) -> Self {
        let sandbox = doctor::probe(tun);
        let found = TRIALS.iter().map(|(needs, trial)| (*needs, trial(&sandbox))).collect();
        Self { sandbox, found }
    }

    /// Each capability of the machine and what was found.
    pub fn all(&self) -> impl Iterator<Item = (Needs, &Found)> {
        self.found.iter().map(|(needs, found)| (*needs, found))
    }

    /// Why the machine lacks what a fault acts on; `None` also for what depends on the system alone.
    pub fn lack(&self, needs: Needs) -> Option<&Lack> {
        self.found.iter().find(|(other, _)| *other == needs)?.1.as_ref().err()
    }
}

fn processes(_sandbox: &doctor::Report) -> Found {
    match proc::stat(Pid::this()) {
        Ok(Some(_)) => Ok("signals, and /proc for evidence".to_owned()),
        Ok(None) => Err(no_proc("this process is not in it")),
        Err(error) => Err(no_proc(&error.to_string())),
    }
}

fn no_proc(what: &str) -> Lack {
    Lack { reason: format!("/proc cannot be read: {what}"), help: "mount /proc".to_owned() }
}

fn disks(_sandbox: &doctor::Report) -> Found {
    match disk::self_test() {
        Ok(()) => Ok("a FUSE file system that forgets what was not synced".to_owned()),
        Err(disk::Reason { what, help }) => Err(Lack { reason: what, help }),
    }
}

fn links(sandbox: &doctor::Report) -> Found {
    match sandbox.tier {
        Some(tier) => Ok(format!("a switch between namespaces, tier {tier}")),
        None => {
            let reason = sandbox.reasons().into_iter().next().unwrap_or_else(|| "no tier works".to_owned());
            Err(Lack { reason, help: "see the lines of `harness doctor` above it".to_owned() })
        }
    }
}

/// Both clocks, or none: what a plan bends is drawn, and a program whose waits do not follow its clock is broken by the
/// harness alone.
fn clocks(_sandbox: &doctor::Report) -> Found {
    match clock::test(clock::Level::Waits) {
        Ok(()) => Ok("a vDSO of our own, and waits traced by ptrace and seccomp".to_owned()),
        Err(clock::Reason { detail, help }) => Err(Lack { reason: detail, help: help.to_owned() }),
    }
}
