//! Disks that break their word: a sync that saved nothing, a bit that turned by itself.
//!
//! Beyond what Raft promises to survive, so they are injected only when they are asked for by name.
//!
//! What is expected of a system then: a bit that turned in the middle of a log should be noticed by a checksum, and the
//! node should refuse to start rather than serve; the heal turns the bit back and starts it. In the last record of a log
//! it cannot be told from a write that was cut short, and is lost silently. A sync that lied cannot be noticed by a single
//! node at all.

use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};
use rand::RngExt;

use super::{MODE, PATH, TARGETS, View, changes, disk, kill, look, mode, power, start};
use crate::cluster::Cluster;
use crate::disk::{Action, FaultyDisk, Operation, Pattern, Rule, Unsynced};
use crate::faults::hold::{Flip, Hold};
use crate::faults::process::running;
use crate::faults::proof::Proof;
use crate::faults::{Aim, Fault, FaultError, Needs};
use crate::knobs::{Knob, Range};
use crate::target::{Rng, Target};

/// How long syncs are waited for.
const SYNCS_WITHIN: Duration = Duration::from_secs(3);
const SYNCS_POLL: Duration = Duration::from_millis(5);
/// How often a place for a bit is drawn, as parts of files may never have been written.
const DRAWS_MAX: u32 = 64;

/// Syncs that succeed and save nothing, and then a power loss.
pub(in crate::faults) struct LostWrite;

const SYNCS: Knob = Knob {
    name: "syncs",
    about: "how many syncs lie at least before the power goes",
    range: Range::Number { min: 1, max: 1_000_000, usual: &[1, 10, 100] },
};

impl Fault for LostWrite {
    fn name(&self) -> &'static str {
        "lost-write"
    }

    fn about(&self) -> &'static str {
        "syncs on the targets' disks succeed and save nothing; then the power goes"
    }

    fn needs(&self) -> Needs {
        Needs::Disks
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[MODE, PATH, SYNCS]
    }

    fn beyond_promise(&self) -> Option<&'static str> {
        Some("a node that forgets what it has synced may take back a vote or an entry")
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        let path = Pattern::new(aim.knobs.word("path"));
        let syncs = u64::try_from(aim.knobs.number("syncs")).expect("the range of the knob is positive");
        let mut armed = Vec::new();
        for &node in aim.targets {
            let rule = Rule {
                operations: vec![Operation::Fsync],
                path: path.clone(),
                skip: 0,
                // All until the power goes: a true sync would save what the ones before it did not.
                times: None,
                percent: 100,
                action: Action::Lie,
                seed: 0,
            };
            let id = disk(cluster, node)?.arm(rule);
            hold.disk_rules.insert((node, id), path.clone());
            armed.push((node, id));
        }
        let deadline = Instant::now() + SYNCS_WITHIN;
        for &(node, id) in &armed {
            let disk = disk(cluster, node)?;
            while disk.hits(id) < syncs && Instant::now() < deadline {
                std::thread::sleep(SYNCS_POLL);
            }
        }
        // All of them die before the first disk forgets.
        for &(node, _) in &armed {
            kill(cluster, node, hold, &mut proof)?;
        }
        let mut lied = 0;
        for (node, id) in armed {
            let hits = disk(cluster, node)?.disarm(id);
            hold.disk_rules.remove(&(node, id));
            lied += hits;
            proof.note("disk journal", Some(node), format!("{hits} syncs of the node saved nothing"));
            power::lose_power(cluster, node, mode(aim.knobs), Unsynced::Lost, rng, &mut proof)?;
        }
        proof.require(lied > 0, "disk journal", None, format!("{lied} syncs lied"));
        Ok(proof.receipt())
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        super::heal(cluster, hold, others)
    }
}

/// One bit of one file of each target.
pub(in crate::faults) struct BitFlip;

impl Fault for BitFlip {
    fn name(&self) -> &'static str {
        "bit-flip"
    }

    fn about(&self) -> &'static str {
        "kill the targets, turn one bit of a file, and start them again; the heal turns it back"
    }

    fn needs(&self) -> Needs {
        Needs::Disks
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[PATH]
    }

    fn beyond_promise(&self) -> Option<&'static str> {
        Some("a bit that turned in the last record of a log takes back what was synced")
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        let path = Pattern::new(aim.knobs.word("path"));
        let mut turned_any = false;
        for &node in aim.targets {
            let was_running = running(cluster, node)?.is_some();
            kill(cluster, node, hold, &mut proof)?;
            turned_any |= flip(cluster, node, &path, rng, hold, &mut proof)?;
            if was_running {
                let killed = hold.killed.get(&node).copied();
                start(cluster, node, killed, &mut proof)?;
                hold.killed.remove(&node);
            }
        }
        Ok(if turned_any { proof.receipt() } else { proof.skipped() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        super::heal(cluster, hold, others)
    }
}

/// Turns a bit on the disk of a dead node. False where there was none to turn.
fn flip(
    cluster: &mut dyn Cluster,
    node: NodeId,
    path: &Pattern,
    rng: &mut Rng,
    hold: &mut Hold,
    proof: &mut Proof,
) -> Result<bool, FaultError> {
    let disk = disk(cluster, node)?;
    let before = look(&*disk, node, &View::new())?;
    let files = disk.files().into_iter().filter(|(file, size)| *size > 0 && path.matches(within(file)));
    let files = files.collect::<Vec<_>>();
    if files.is_empty() {
        proof.note("disk", Some(node), format!("no file `{path}` has anything in it"));
        return Ok(false);
    }
    for _ in 0..DRAWS_MAX {
        let (file, size) = &files[rng.random_range(0..files.len())];
        let (offset, bit) = (rng.random_range(0..*size), rng.random_range(0..8_u8));
        let failed = |source| FaultError::Disk { node, source };
        let was = disk.byte(file, offset).map_err(failed)?;
        let Some(turned) = disk.flip(file, offset, bit) else { continue };
        hold.flips.insert(Flip { node, path: file.clone(), offset, bit, turned });
        let is = disk.byte(file, offset).map_err(failed)?;
        let seen = format!("{file}: byte {offset} {was:#04x} → {is:#04x}");
        proof.require(was ^ is == 1 << bit, "file through the mount", Some(node), seen);
        let changed = changes(&before, &look(&*disk, node, &before)?);
        let alone = changed.keys().eq([file]);
        proof.require(alone, "files through the mount", Some(node), format!("{} changed", changed.len()));
        return Ok(true);
    }
    proof.note("disk", Some(node), format!("no written byte of `{path}` was found"));
    Ok(false)
}

/// A path as the node's data directory has it.
fn within(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, within)| within)
}

/// Turns the bits of a hold back, where they are as they were left. The nodes are stopped for that: the page cache of one
/// that runs would write the turned bit again.
pub(super) fn turn_back(
    cluster: &mut dyn Cluster,
    hold: &mut Hold,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    while let Some(flip) = hold.flips.first().cloned() {
        let Flip { node, path, offset, bit, turned } = &flip;
        match running(cluster, *node)? {
            Some(_) => kill(cluster, *node, hold, proof)?,
            None => proof.note("processes", Some(*node), "had stopped by itself"),
        }
        let disk = disk(cluster, *node)?;
        // The file, or its end, may be gone: a node may cut off what it takes for a torn write.
        let is_as_left = |disk: &dyn FaultyDisk| disk.byte(path, *offset).is_ok_and(|byte| byte == *turned);
        if is_as_left(&*disk) {
            disk.flip(path, *offset, *bit);
            let back = disk.byte(path, *offset).map_err(|source| FaultError::Disk { node: *node, source })?;
            let seen = format!("{path}: byte {offset} {turned:#04x} → {back:#04x}");
            proof.require(back == turned ^ (1 << bit), "file through the mount", Some(*node), seen);
        } else {
            let seen = format!("{path}: byte {offset} was written since, or is gone");
            proof.note("file through the mount", Some(*node), seen);
        }
        hold.flips.remove(&flip);
    }
    Ok(())
}
