//! Lets the leader hand over to another node, as an operator would before maintenance (thesis, §3.10).
//!
//! It is over when the new leader leads, or when the old one gives up; there is nothing to undo. A handover lets the new
//! leader campaign at once, past PreVote and past the stickiness of the others, which is what makes it worth testing.

use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};
use rand::seq::IndexedRandom;

use super::hold::Hold;
use super::members::membership;
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, ClusterError};
use crate::target::{Rng, Target};

/// The leader hands over to a node by chance.
pub(super) struct TransferLeadership;

/// An election timeout, in which a transfer succeeds or is given up, and time for the trace to show it.
const LEADS_WITHIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

impl Fault for TransferLeadership {
    fn name(&self) -> &'static str {
        "transfer-leadership"
    }

    fn about(&self) -> &'static str {
        "let the leader hand over to another node"
    }

    fn needs(&self) -> Needs {
        Needs::Membership
    }

    fn targets(&self) -> &'static [Target] {
        &[Target::Leader]
    }

    fn nodes_min(&self) -> u16 {
        2
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        _hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        let others =
            cluster.nodes().into_iter().filter(|node| !aim.targets.contains(node)).collect::<Vec<_>>();
        let Some(&to) = others.choose(rng) else {
            proof.note("nemesis", None, "there is no other node");
            return Ok(proof.skipped());
        };
        match membership(cluster)?.transfer(to) {
            Ok(()) => (),
            // It may have happened all the same; who leads decides.
            Err(error @ (ClusterError::Refused { .. } | ClusterError::Down(_))) => {
                proof.note("answer", Some(to), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        let leader = wait_for(cluster, to);
        let seen = leader.map_or("nobody leads".to_owned(), |leader| format!("{leader} leads"));
        proof.require(leader == Some(to), "traces", Some(to), seen);
        Ok(proof.receipt())
    }

    fn heal(&self, _: &mut dyn Cluster, _: &mut Hold, _: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        proof.note("nemesis", None, "it was over at once; there is nothing to undo");
        Ok(proof.receipt())
    }
}

/// Who leads, once it is `wanted` or the time is over.
fn wait_for(cluster: &dyn Cluster, wanted: NodeId) -> Option<NodeId> {
    let deadline = Instant::now() + LEADS_WITHIN;
    loop {
        let leader = cluster.leader();
        if leader == Some(wanted) || Instant::now() >= deadline {
            return leader;
        }
        thread::sleep(POLL);
    }
}
