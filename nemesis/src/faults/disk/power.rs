//! Power losses: at any moment, in the middle of a sync, or just before a chosen operation.
//!
//! The node is killed first, as it would write the rest again, and all targets are dead before the first disk forgets.
//! The fault counts as installed if files changed that nobody alive could have changed. Where nothing was unsynced,
//! nothing changes; then the power loss was a kill, and the receipt says so.
//!
//! A node that syncs at once has something unsynced for some microseconds only, and a power loss at any moment mostly
//! misses them. A torn write and a crash wait for the moment instead: the disk stands still before the operation that was
//! asked for, and the node is killed there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};

use super::{MODE, NTH, PATH, changes, disk, kill, look, mode, skip};
use crate::cluster::Cluster;
use crate::disk::{Action, Losses, Mode, Operation, Pattern, Rule, Unsynced};
use crate::faults::hold::Hold;
use crate::faults::proof::Proof;
use crate::faults::{Aim, Fault, FaultError, Needs};
use crate::knobs::{Knob, Knobs, Range};
use crate::target::{Rng, Target};

/// How long an operation is waited for. A cluster with clients syncs many times a second; a snapshot, which renames,
/// comes every few seconds at most.
const OPERATION_WITHIN: Duration = Duration::from_secs(3);

/// A fault that cuts the power.
pub(in crate::faults) struct PowerFault {
    name: &'static str,
    about: &'static str,
    knobs: &'static [Knob],
    targets: &'static [Target],
    moment: fn(&Knobs) -> Option<Moment>,
    unsynced: fn(&Knobs) -> Loss,
}

/// Before which operation the power goes.
struct Moment {
    operation: Operation,
    path: Pattern,
    skip: u64,
}

/// What the power takes along.
#[derive(Clone, Copy)]
struct Loss {
    mode: Mode,
    /// `None` leaves everything, as a kill does.
    unsynced: Option<Unsynced>,
}

pub(super) const POWER_LOSS: PowerFault = PowerFault {
    name: "power-loss",
    about: "kill the targets, take from their disks what was not synced, and start them again",
    knobs: &[MODE],
    targets: &[Target::Majority, Target::Leader, Target::One, Target::All],
    moment: |_| None,
    unsynced: |knobs| Loss { mode: mode(knobs), unsynced: Some(Unsynced::Lost) },
};

pub(super) const TORN_WRITE: PowerFault = PowerFault {
    name: "torn-write",
    about: "a power loss in the middle of a sync: parts of what was not synced are on the disk",
    knobs: &[MODE, PATH, NTH, SURVIVE, UNIT],
    targets: &[Target::Leader, Target::One, Target::Minority, Target::Majority],
    moment: |knobs| Some(moment(Operation::Fsync, knobs)),
    unsynced: |knobs| {
        let survive_percent = u8::try_from(knobs.number("survive_percent")).expect("it is at most 100");
        let unsynced = match knobs.word("unit") {
            "page" => Unsynced::TornPages { survive_percent },
            _ => Unsynced::TornSectors { survive_percent },
        };
        Loss { mode: mode(knobs), unsynced: Some(unsynced) }
    },
};

pub(super) const DISK_CRASH: PowerFault = PowerFault {
    name: "disk-crash",
    about: "kill the targets just before a chosen operation on their disks, with or without a power loss",
    knobs: &[MODE, PATH, OPERATION, NTH, UNSYNCED],
    targets: &[Target::Leader, Target::One, Target::Minority, Target::Majority],
    moment: |knobs| {
        let operation = Operation::find(knobs.word("operation")).expect("the knob takes only operations");
        Some(moment(operation, knobs))
    },
    unsynced: |knobs| {
        let unsynced = (knobs.word("unsynced") == "lost").then_some(Unsynced::Lost);
        Loss { mode: mode(knobs), unsynced }
    },
};

const SURVIVE: Knob = Knob {
    name: "survive_percent",
    about: "how likely it is for each unit that was not synced to be on the disk",
    range: Range::Number { min: 0, max: 100, usual: &[20, 50, 80] },
};
const UNIT: Knob = Knob {
    name: "unit",
    about: "what reaches the disk wholly or not at all: a page of 4096 bytes, or a sector of 512",
    range: Range::Word(&["page", "sector"]),
};
const OPERATION: Knob = Knob {
    name: "operation",
    about: "before which operation",
    // The others are rare, and a fault that waits for them in vain is skipped.
    range: Range::Choice {
        words: &["write", "fsync", "fsync-dir", "truncate", "create", "rename", "unlink"],
        usual: &["write", "fsync"],
    },
};
const UNSYNCED: Knob = Knob {
    name: "unsynced",
    about: "lost: the power goes; kept: a kill alone",
    range: Range::Word(&["lost", "kept"]),
};

fn moment(operation: Operation, knobs: &Knobs) -> Moment {
    Moment { operation, path: Pattern::new(knobs.word("path")), skip: skip(knobs) }
}

impl Fault for PowerFault {
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
        self.targets
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
        let nodes = match (self.moment)(aim.knobs) {
            None => aim.targets.to_vec(),
            Some(moment) => {
                let reached = stop_before(&moment, cluster, aim.targets, hold)?;
                for (&node, seen) in &reached {
                    proof.note("disk", Some(node), format!("stopped before {seen}"));
                }
                for &node in aim.targets.iter().filter(|node| !reached.contains_key(node)) {
                    proof.note("disk", Some(node), missed(&moment));
                }
                if reached.is_empty() {
                    return Ok(proof.skipped());
                }
                reached.into_keys().collect()
            }
        };
        let cut = cut_power(cluster, &nodes, (self.unsynced)(aim.knobs), rng, hold, &mut proof);
        // Whatever happened, no disk may stand still any longer.
        for &node in &nodes {
            disk(cluster, node)?.thaw();
        }
        cut?;
        Ok(proof.receipt())
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        super::heal(cluster, hold, others)
    }
}

/// Lets the disks stand still before an operation, and gives those that came to it, with what they stopped before.
fn stop_before(
    moment: &Moment,
    cluster: &mut dyn Cluster,
    targets: &[NodeId],
    hold: &mut Hold,
) -> Result<BTreeMap<NodeId, String>, FaultError> {
    let mut armed = Vec::new();
    for &node in targets {
        let rule = Rule {
            operations: vec![moment.operation],
            path: moment.path.clone(),
            skip: moment.skip,
            times: Some(1),
            percent: 100,
            action: Action::Freeze,
            seed: 0,
        };
        let id = disk(cluster, node)?.arm(rule);
        hold.disk_rules.insert((node, id), moment.path.clone());
        armed.push((node, id));
    }
    let deadline = Instant::now() + OPERATION_WITHIN;
    let mut reached = BTreeMap::new();
    for (node, id) in armed {
        let disk = disk(cluster, node)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let frozen = disk.wait_until_frozen(left);
        disk.disarm(id);
        hold.disk_rules.remove(&(node, id));
        // It may have come between the end of the wait and the end of the rule.
        if let Some((operation, path)) = frozen.or_else(|| disk.wait_until_frozen(Duration::ZERO)) {
            reached.insert(node, format!("{operation} of {path}"));
        }
    }
    Ok(reached)
}

fn missed(moment: &Moment) -> String {
    let Moment { operation, path, skip } = moment;
    format!("no {operation} of `{path}` for the {}. time within {OPERATION_WITHIN:?}", skip + 1)
}

/// Kills the nodes, then takes from each disk what was not synced, and compares what can be seen before and after.
fn cut_power(
    cluster: &mut dyn Cluster,
    nodes: &[NodeId],
    loss: Loss,
    rng: &mut Rng,
    hold: &mut Hold,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    for &node in nodes {
        kill(cluster, node, hold, proof)?;
    }
    let Some(unsynced) = loss.unsynced else { return Ok(()) };
    for &node in nodes {
        lose_power(cluster, node, loss.mode, unsynced, rng, proof)?;
    }
    Ok(())
}

/// Takes from the disk of a dead node what was not synced, with the proof that it is gone.
pub(super) fn lose_power(
    cluster: &mut dyn Cluster,
    node: NodeId,
    mode: Mode,
    unsynced: Unsynced,
    rng: &mut Rng,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let disk = disk(cluster, node)?;
    let before = look(&*disk, node, &BTreeMap::new())?;
    let losses = disk.lose_power(mode, unsynced, rng);
    let after = look(&*disk, node, &before)?;
    proof.note("disk journal", Some(node), losses.to_string());
    let changed = changes(&before, &after);
    let seen = if changed.is_empty() {
        format!("{} files, none changed", before.len())
    } else {
        changed.values().cloned().collect::<Vec<_>>().join("; ")
    };
    let shown = agrees(&losses, &changed.into_keys().collect());
    proof.require(shown, "files through the mount", Some(node), seen);
    if losses.is_empty() {
        proof.note("disk journal", Some(node), "it took no more than a kill");
    }
    Ok(())
}

/// Whether what changed is what the disk says it lost: nothing else, and something if anything.
fn agrees(losses: &Losses, changed: &BTreeSet<String>) -> bool {
    let files = losses.files.iter().map(|file| &file.path);
    let names = losses.names_gone.iter().chain(&losses.names_back);
    let said = files.chain(names).collect::<BTreeSet<_>>();
    // Pages that all survived changed nothing.
    let all_may_have_survived = losses.files.iter().any(|file| file.torn > 0);
    let explained = changed.iter().all(|path| said.contains(path));
    explained && (losses.is_empty() || !changed.is_empty() || all_may_have_survived)
}
