//! Kills nodes and starts them at once, again and again.
//!
//! A node that comes back before its peers have missed it must still know its term, its vote and its log, each time; and
//! one that is killed while it boots must boot all the same. A single kill shows neither.

use std::time::Duration;

use checkers::history::{NodeId, Receipt};

use super::hold::{Hold, Storm};
use super::kill::{kill, start};
use super::process::{heal_each, running};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, ClusterError};
use crate::knobs::{Knob, Knobs, Range};
use crate::proc::Identity;
use crate::target::{Rng, Target};

/// SIGKILL and a start, once in every period.
pub(super) struct RestartStorm;

const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority];

const KNOBS: &[Knob] = &[Knob {
    name: "period_ms",
    about: "time between two restarts of a node",
    range: Range::Number { min: 50, max: 60_000, usual: &[200, 500, 1_200] },
}];

impl Fault for RestartStorm {
    fn name(&self) -> &'static str {
        "restart-storm"
    }

    fn about(&self) -> &'static str {
        "kill the targets with SIGKILL and start them at once, again and again"
    }

    fn needs(&self) -> Needs {
        Needs::Processes
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        KNOBS
    }

    fn period(&self, knobs: &Knobs) -> Option<Duration> {
        Some(Duration::from_millis(knobs.number("period_ms").unsigned_abs()))
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for &node in aim.targets {
            let Some((pid, stat)) = running(cluster, node)? else {
                proof.note("processes", Some(node), "down already");
                continue;
            };
            let first = Identity { pid, start_ticks: stat.start_ticks };
            let storm = hold.storms.entry(node).or_insert(Storm { lives: vec![first], missed: 0 });
            restart(cluster, node, storm, &mut proof)?;
        }
        Ok(if hold.storms.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn pulse(&self, cluster: &mut dyn Cluster, hold: &mut Hold) -> Result<(), FaultError> {
        for (&node, storm) in &mut hold.storms {
            let mut proof = Proof::default();
            match restart(cluster, node, storm, &mut proof) {
                // Down by another fault or by itself: the storm has nothing to kill, and starting is the heal's.
                Ok(()) | Err(FaultError::Cluster(ClusterError::Down(_))) => (),
                Err(error) => return Err(error),
            }
            storm.missed += u64::from(proof.is_missing());
        }
        Ok(())
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        // Another storm goes on by itself; a node that another fault keeps down stays down.
        heal_each(&mut hold.storms, &others.killed, "stays down", &mut proof, |node, storm, proof| {
            let restarts = storm.lives.len() - 1;
            let seen = format!("{restarts} restarts, {} of them without evidence", storm.missed);
            proof.require(storm.missed == 0, "/proc and waitid", Some(node), seen);
            start(cluster, node, None, proof)
        })?;
        Ok(proof.receipt())
    }
}

/// One restart. The new life is noted only if the kernel shows another process than before.
fn restart(
    cluster: &mut dyn Cluster,
    node: NodeId,
    storm: &mut Storm,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let Some((pid, stat)) = running(cluster, node)? else { return Ok(()) };
    let before = Identity { pid, start_ticks: stat.start_ticks };
    kill(cluster, node, before, proof)?;
    start(cluster, node, Some(before), proof)?;
    if let Some((pid, stat)) = running(cluster, node)? {
        storm.lives.push(Identity { pid, start_ticks: stat.start_ticks });
    }
    Ok(())
}
