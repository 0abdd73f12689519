//! Takes a node's disk away: it is removed from the cluster, killed, emptied, and comes back as a new member.
//!
//! This is beyond what Raft promises. A node under its old name that has forgotten its votes can give a second one in a term
//! that some paused candidate still stands for, and then two nodes lead it. Removing the node first, and giving it no
//! vote before it has caught up, makes that unlikely; only a name that was never used before rules it out. So a bad
//! end of such a run proves nothing against the system, checkers that read of a forgotten term say so, and the fault is
//! injected only when it is asked for.

use checkers::history::Receipt;

use super::hold::Hold;
use super::kill::{kill, start};
use super::members::{remove, restore};
use super::process::{heal_each, running};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::Cluster;
use crate::proc::Identity;
use crate::target::{Rng, Target};

/// The targets lose their membership, their process and their data; heal brings them back empty.
pub(super) struct Wipe;

const TARGETS: &[Target] = &[Target::One, Target::Leader];

impl Fault for Wipe {
    fn name(&self) -> &'static str {
        "wipe"
    }

    fn about(&self) -> &'static str {
        "remove the targets from the cluster, delete their data, and add them as new members"
    }

    fn needs(&self) -> Needs {
        Needs::Membership
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn nodes_min(&self) -> u16 {
        3
    }

    fn beyond_promise(&self) -> Option<&'static str> {
        Some("a node that has forgotten its votes under its old name may vote twice in a term")
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
            let identity = Identity { pid, start_ticks: stat.start_ticks };
            hold.removed.insert(node);
            remove(cluster, node, &mut proof)?;
            if proof.is_missing() {
                // A member that loses its data loses its votes; then rather not.
                break;
            }
            hold.killed.insert(node, identity);
            kill(cluster, node, identity, &mut proof)?;
            cluster.processes().wipe(node)?;
        }
        Ok(if hold.removed.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        heal_each(&mut hold.killed, &others.killed, "stays down", &mut proof, |node, killed, proof| {
            start(cluster, node, Some(killed), proof)
        })?;
        for node in hold.removed.clone() {
            if others.removed.contains(&node) {
                proof.note("nemesis", Some(node), "stays removed for another fault");
            } else {
                restore(cluster, node, &mut proof)?;
            }
            hold.removed.remove(&node);
        }
        Ok(proof.receipt())
    }
}
