//! Faults that are rules on the disk: for a while, operations fail or take long.
//!
//! A system may stop where its disk refuses, and raft-kv does: after a failed write or sync nobody knows what is on the
//! disk. So the heal starts whatever is down. That a rule is in force, and that it is gone, is seen by a probe: a child
//! that writes a file of its own on the same disk.

use std::collections::BTreeMap;
use std::time::Duration;

use checkers::history::{NodeId, Receipt};
use nix::errno::Errno;
use rand::RngExt;

use super::{NTH, PATH, TARGETS, disk, skip};
use crate::cluster::Cluster;
use crate::disk::{Action, FaultyDisk, Operation, Pattern, Probe, Rule};
use crate::faults::hold::Hold;
use crate::faults::proof::Proof;
use crate::faults::{Aim, Fault, FaultError, Needs};
use crate::knobs::{Knob, Knobs, Range};
use crate::target::{Rng, Target};

/// The least delay that a fault can be set to.
const DELAY_MIN: Duration = Duration::from_millis(10);
/// A sync that no rule delays takes microseconds. On a busy machine one may take longer; of some, one is quick.
const QUICK_PROBES: usize = 5;

/// A fault that arms a rule.
pub(in crate::faults) struct RuleFault {
    name: &'static str,
    about: &'static str,
    knobs: &'static [Knob],
    /// Without the seed of its choices.
    rule: fn(&Knobs) -> Rule,
}

pub(super) const DISK_EIO: RuleFault = RuleFault {
    name: "disk-eio",
    about: "operations on the targets' disks fail with EIO",
    knobs: &[PATH, OPERATION, NTH, TIMES, PERCENT],
    rule: |knobs| {
        let operation = Operation::find(knobs.word("operation")).expect("the knob takes only operations");
        let percent = u8::try_from(knobs.number("percent")).expect("it is at most 100");
        Rule { percent, ..with_occurrences(knobs, operation, Action::Fail(Errno::EIO)) }
    },
};

pub(super) const FSYNC_ERROR: RuleFault = RuleFault {
    name: "fsync-error",
    about: "syncs on the targets' disks fail with EIO; what becomes of the pages can be chosen",
    knobs: &[PATH, NTH, TIMES, PAGES],
    rule: |knobs| {
        let action = match knobs.word("pages") {
            "clean" => Action::FailAndForget(Errno::EIO),
            _ => Action::Fail(Errno::EIO),
        };
        with_occurrences(knobs, Operation::Fsync, action)
    },
};

pub(super) const DISK_FULL: RuleFault = RuleFault {
    name: "disk-full",
    about: "writes on the targets' disks fail with ENOSPC",
    knobs: &[PATH],
    rule: |knobs| {
        let operations = vec![Operation::Write, Operation::Create];
        Rule { operations, ..always(knobs, Operation::Write, Action::Fail(Errno::ENOSPC)) }
    },
};

pub(super) const SLOW_FSYNC: RuleFault = RuleFault {
    name: "slow-fsync",
    about: "syncs on the targets' disks take longer",
    knobs: &[PATH, DELAY],
    rule: |knobs| {
        let delay_ms = u64::try_from(knobs.number("delay_ms")).expect("the range of the knob is positive");
        always(knobs, Operation::Fsync, Action::Delay(Duration::from_millis(delay_ms)))
    },
};

const OPERATION: Knob = Knob {
    name: "operation",
    about: "which operations fail",
    // A node that runs reads little, and a rule that nothing meets shows nothing.
    range: Range::Choice { words: &["read", "write", "fsync"], usual: &["write", "fsync"] },
};
const TIMES: Knob = Knob {
    name: "times",
    about: "how many fail, 0 for all",
    range: Range::Number { min: 0, max: 1_000_000, usual: &[0, 1, 3] },
};
const PERCENT: Knob = Knob {
    name: "percent",
    about: "how likely each of them is to fail",
    range: Range::Number { min: 1, max: 100, usual: &[100, 20] },
};
const PAGES: Knob = Knob {
    name: "pages",
    about: "clean: as Linux has it, another sync succeeds and saves nothing of them; dirty: it saves them",
    range: Range::Word(&["clean", "dirty"]),
};
const DELAY: Knob = Knob {
    name: "delay_ms",
    about: "how much longer",
    range: Range::Number { min: 10, max: 10_000, usual: &[50, 200, 800] },
};

fn always(knobs: &Knobs, operation: Operation, action: Action) -> Rule {
    let path = Pattern::new(knobs.word("path"));
    Rule { operations: vec![operation], path, skip: 0, times: None, percent: 100, action, seed: 0 }
}

fn with_occurrences(knobs: &Knobs, operation: Operation, action: Action) -> Rule {
    let times = u64::try_from(knobs.number("times")).expect("the range of the knob begins with 0");
    let times = Some(times).filter(|&times| times > 0);
    Rule { skip: skip(knobs), times, ..always(knobs, operation, action) }
}

impl Fault for RuleFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn needs(&self) -> Needs {
        Needs::Disks
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        self.knobs
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for &node in aim.targets {
            let disk = disk(cluster, node)?;
            let rule = Rule { seed: rng.random(), ..(self.rule)(aim.knobs) };
            let id = disk.arm(rule.clone());
            hold.disk_rules.insert((node, id), rule.path.clone());
            let delay = if let Action::Delay(delay) = rule.action { delay } else { Duration::ZERO };
            let probe = disk.probe(&rule.path, delay).map_err(|source| FaultError::Disk { node, source })?;
            proof.require(shows(&rule, &probe), "probe on the disk", Some(node), in_words(&probe));
        }
        Ok(proof.receipt())
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        super::heal(cluster, hold, others)
    }
}

/// Whether a probe met the rule.
fn shows(rule: &Rule, probe: &Probe) -> bool {
    match rule.action {
        Action::Fail(errno) | Action::FailAndForget(errno) => {
            let hurt = |operation: &Operation| outcome(*operation, probe) == Err(errno);
            rule.operations.iter().any(hurt)
        }
        Action::Delay(delay) => probe.sync == Ok(()) && probe.sync_time >= delay,
        Action::Lie | Action::Freeze => false,
    }
}

fn outcome(operation: Operation, probe: &Probe) -> Result<(), Errno> {
    match operation {
        Operation::Read => probe.read,
        Operation::Write => probe.write,
        Operation::Fsync => probe.sync,
        Operation::Create => probe.create,
        Operation::Truncate | Operation::FsyncDirectory | Operation::Rename | Operation::Unlink => Ok(()),
    }
}

fn in_words(probe: &Probe) -> String {
    let word =
        |outcome: Result<(), Errno>| outcome.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned());
    format!(
        "create {}, write {}, fsync {} in {:.1} ms, read {}",
        word(probe.create),
        word(probe.write),
        word(probe.sync),
        probe.sync_time.as_secs_f64() * 1e3,
        word(probe.read)
    )
}

/// Takes back the rules of a hold, and shows by probes that the disks work.
pub(super) fn disarm_held(
    cluster: &mut dyn Cluster,
    hold: &mut Hold,
    others: &Hold,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let mut paths = BTreeMap::new();
    while let Some(((node, id), path)) = hold.disk_rules.pop_first() {
        let disk = disk(cluster, node)?;
        let hits = disk.disarm(id);
        disk.thaw();
        let bite = if hits == 0 { "; it did not bite" } else { "" };
        proof.note("disk journal", Some(node), format!("{hits} operations of the node were hurt{bite}"));
        paths.insert(node, path);
    }
    for (node, path) in paths {
        if others.disk_rules.keys().any(|&(other, _)| other == node) {
            proof.note("nemesis", Some(node), "the disk stays hurt by another fault");
            continue;
        }
        require_sound(&*disk(cluster, node)?, node, &path, proof)?;
    }
    Ok(())
}

/// Shows that a disk does what it is asked to on such a path, and at once.
pub(in crate::faults) fn require_sound(
    disk: &dyn FaultyDisk,
    node: NodeId,
    path: &Pattern,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let failed = |source| FaultError::Disk { node, source };
    let mut best = disk.probe(path, Duration::ZERO).map_err(failed)?;
    for _ in 1..QUICK_PROBES {
        if best.sync_time < DELAY_MIN {
            break;
        }
        let next = disk.probe(path, Duration::ZERO).map_err(failed)?;
        best.sync_time = best.sync_time.min(next.sync_time);
    }
    let all_done = [best.create, best.write, best.sync, best.read].iter().all(Result::is_ok);
    let shown = all_done && best.sync_time < DELAY_MIN;
    proof.require(shown, "probe on the disk", Some(node), in_words(&best));
    Ok(())
}
