//! Takes nodes out of the cluster, and back in.
//!
//! The process of a removed node goes on: it may not know that it is out, and campaigns (thesis, §4.2.3). A leader that is
//! removed must first commit its own removal (§4.2.2). The node comes back with what it had on its disk, so it keeps the
//! promises that it made: first without a vote, and with one once it has caught up (§4.2.1).

use checkers::history::Receipt;

use super::hold::Hold;
use super::members::{ask, remove, restore};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, Voice};
use crate::target::{Rng, Target};

/// The targets stop being members; heal makes them members with a vote again.
pub(super) struct RemoveMember;

const TARGETS: &[Target] = &[Target::Leader, Target::One];

impl Fault for RemoveMember {
    fn name(&self) -> &'static str {
        "remove-member"
    }

    fn about(&self) -> &'static str {
        "remove the targets from the cluster while they go on, and add them again"
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

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for &node in aim.targets {
            let told = ask(cluster, &[node])?;
            if told.is_none_or(|told| told.members.get(&node) != Some(&Voice::Voter)) {
                proof.note("members", Some(node), "no node tells that it is a member with a vote");
                continue;
            }
            hold.removed.insert(node);
            remove(cluster, node, &mut proof)?;
        }
        Ok(if hold.removed.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for node in hold.removed.clone() {
            if others.removed.contains(&node) {
                proof.note("nemesis", Some(node), "stays removed for another fault");
            } else if !others.is_empty() {
                // It would have to catch up first, and whatever else is in force may keep it from that.
                proof.note(
                    "nemesis",
                    Some(node),
                    "gets its vote back in the final heal: other faults are in force",
                );
            } else {
                restore(cluster, node, &mut proof)?;
            }
            hold.removed.remove(&node);
        }
        Ok(proof.receipt())
    }
}
