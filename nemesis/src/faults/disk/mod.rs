//! Faults on disks: what they share.
//!
//! ```text
//! power-loss, torn-write, disk-crash          the power goes, with what was not synced        power.rs
//! disk-eio, fsync-error, disk-full, slow-fsync   operations fail or take long for a while     rules.rs
//! lost-write, bit-flip                        the disk breaks its word                        broken.rs
//! ```
//! A system must survive the first two groups: it may lose what it never synced, and it may stop where the disk refuses.
//! The third takes away what Raft rests on, that a vote or an entry once synced is there after a restart. A node that
//! forgets an entry it acknowledged, or a vote it gave, lets a majority commit without it or elect twice; even one node is
//! enough. So these faults come only when they are asked for by name, to see what a system does about them.
//!
//! The evidence is what a child process sees through the mount, beside the file system's own journal. That a power loss
//! took something is shown by files that changed while nobody ran who could have changed them.

mod broken;
mod power;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkers::history::{NodeId, Receipt};

use super::FaultError;
use super::hold::Hold;
use super::kill::start;
use super::process::running;
use super::proof::Proof;
use crate::cluster::Cluster;
use crate::disk::{FaultyDisk, Mode, Seen};
use crate::knobs::{Knob, Knobs, Range};
use crate::proc::Identity;
use crate::target::Target;

pub(super) use rules::require_sound;

pub(super) const POWER_LOSS: power::PowerFault = power::POWER_LOSS;
pub(super) const TORN_WRITE: power::PowerFault = power::TORN_WRITE;
pub(super) const DISK_CRASH: power::PowerFault = power::DISK_CRASH;
pub(super) const DISK_EIO: rules::RuleFault = rules::DISK_EIO;
pub(super) const FSYNC_ERROR: rules::RuleFault = rules::FSYNC_ERROR;
pub(super) const DISK_FULL: rules::RuleFault = rules::DISK_FULL;
pub(super) const SLOW_FSYNC: rules::RuleFault = rules::SLOW_FSYNC;
pub(super) const LOST_WRITE: broken::LostWrite = broken::LostWrite;
pub(super) const BIT_FLIP: broken::BitFlip = broken::BitFlip;

/// Most harm is done to the leader, who has the newest entries.
const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority];

const PATH: Knob = Knob {
    name: "path",
    about: "the files; * and ? stand for any text and any character, below the data directory where there is a slash",
    range: Range::Text(&["*"]),
};
const NTH: Knob = Knob {
    name: "nth",
    about: "which occurrence is the first, counted from the injection",
    range: Range::Number { min: 1, max: 1_000_000, usual: &[1, 2, 7] },
};
const MODE: Knob = Knob {
    name: "mode",
    about: "ext4: any sync makes names durable; strict: only a sync of their directory, as POSIX has it",
    range: Range::Word(&["ext4", "strict"]),
};

fn mode(knobs: &Knobs) -> Mode {
    if knobs.word("mode") == "strict" { Mode::Strict } else { Mode::Ext4 }
}

/// How many occurrences are let pass.
fn skip(knobs: &Knobs) -> u64 {
    u64::try_from(knobs.number("nth") - 1).expect("the range of the knob begins with 1")
}

fn disk(cluster: &mut dyn Cluster, node: NodeId) -> Result<Arc<dyn FaultyDisk>, FaultError> {
    Ok(cluster.disks().ok_or(FaultError::NoDisks)?.disk(node))
}

/// Undoes what any fault on disks holds: first the rules, then turned bits, and last whatever is down is started.
fn heal(cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
    let mut proof = Proof::default();
    let nodes = nodes_of(hold);
    rules::disarm_held(cluster, hold, others, &mut proof)?;
    broken::turn_back(cluster, hold, &mut proof)?;
    let mut first_error = None;
    for node in nodes {
        let killed = hold.killed.get(&node).copied();
        if others.killed.contains_key(&node) {
            proof.note("nemesis", Some(node), "stays down for another fault");
            hold.killed.remove(&node);
        } else {
            match revive(cluster, node, killed, &mut proof) {
                Ok(()) => {
                    hold.killed.remove(&node);
                }
                // The other nodes still need their start.
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    first_error.map_or(Ok(proof.receipt()), Err)
}

fn nodes_of(hold: &Hold) -> BTreeSet<NodeId> {
    let rules = hold.disk_rules.keys().map(|&(node, _)| node);
    let flips = hold.flips.iter().map(|flip| flip.node);
    hold.killed.keys().copied().chain(rules).chain(flips).collect()
}

/// Starts a node that was killed, or that stopped by itself where its disk failed it.
fn revive(
    cluster: &mut dyn Cluster,
    node: NodeId,
    killed: Option<Identity>,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    match (killed, running(cluster, node)?) {
        (None, Some(_)) => proof.note("processes", Some(node), "kept running"),
        (None, None) => {
            proof.note("processes", Some(node), "had stopped by itself");
            start(cluster, node, None, proof)?;
        }
        (Some(_), _) => start(cluster, node, killed, proof)?,
    }
    Ok(())
}

/// Kills a node if it runs. What was not synced is in the page cache still, so a node that is down already will do.
fn kill(
    cluster: &mut dyn Cluster,
    node: NodeId,
    hold: &mut Hold,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let Some((pid, stat)) = running(cluster, node)? else {
        proof.note("processes", Some(node), "down already");
        return Ok(());
    };
    let identity = Identity { pid, start_ticks: stat.start_ticks };
    hold.killed.insert(node, identity);
    super::kill::kill(cluster, node, identity, proof)
}

/// The files of a node as a child sees them through the mount. `None` for those that are not there.
type View = BTreeMap<String, Option<Seen>>;

/// Looks at all files there are, and at those of an earlier view.
fn look(disk: &dyn FaultyDisk, node: NodeId, earlier: &View) -> Result<View, FaultError> {
    let mut paths = disk.files().into_keys().collect::<Vec<_>>();
    paths.extend(earlier.keys().filter(|path| !paths.contains(path)).cloned().collect::<Vec<_>>());
    let seen = disk.look(&paths).map_err(|source| FaultError::Disk { node, source })?;
    Ok(paths.into_iter().zip(seen).collect())
}

/// What differs between two views, by path, in words.
fn changes(before: &View, after: &View) -> BTreeMap<String, String> {
    let size = |seen: Option<Seen>| seen.map_or("absent".to_owned(), |seen| format!("{} bytes", seen.bytes));
    let paths = before.keys().chain(after.keys());
    let changed = paths.filter_map(|path| {
        let seen = |view: &View| view.get(path).copied().flatten();
        let (was, is) = (seen(before), seen(after));
        (was != is).then(|| (path.clone(), format!("{path}: {} → {}", size(was), size(is))))
    });
    changed.collect()
}
