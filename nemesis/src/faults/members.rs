//! What the faults on members share: asking again until the cluster has done it, or a deadline has passed.
//!
//! A change of members needs a leader and a quorum, and an answer may be lost. So nothing is concluded from the answer to
//! the request: another node is asked for the members, and the request is made again while they are not as wanted.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::NodeId;

use super::FaultError;
use super::proof::Proof;
use crate::cluster::{Cluster, ClusterError, Membership, Voice};

/// A cluster elects in some seconds, and a learner catches up in some more.
pub(super) const DONE_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Members as a node told them.
pub(super) struct Told {
    pub(super) by: NodeId,
    pub(super) members: BTreeMap<NodeId, Voice>,
}

impl Told {
    /// `n1 n2 n3 (n4 without a vote)`.
    pub(super) fn in_words(&self) -> String {
        let words = self.members.iter().map(|(node, voice)| match voice {
            Voice::Voter => node.to_string(),
            Voice::Learner => format!("({node} without a vote)"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn membership(cluster: &mut dyn Cluster) -> Result<&mut dyn Membership, FaultError> {
    cluster.membership().ok_or(FaultError::NoMembership)
}

/// The members as the first node tells them that is none of `except` and answers.
pub(super) fn ask(cluster: &mut dyn Cluster, except: &[NodeId]) -> Result<Option<Told>, FaultError> {
    for by in cluster.nodes().into_iter().filter(|node| !except.contains(node)) {
        match membership(cluster)?.members(by) {
            Ok(members) => return Ok(Some(Told { by, members })),
            Err(ClusterError::Refused { .. } | ClusterError::Down(_)) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Ends the node's membership, and shows that another node no longer counts it.
pub(super) fn remove(cluster: &mut dyn Cluster, node: NodeId, proof: &mut Proof) -> Result<(), FaultError> {
    until(
        cluster,
        node,
        proof,
        |members| !members.contains_key(&node),
        |membership, _| membership.remove(node),
    )
}

/// Makes the node a member with a vote again, whatever it is by now, and shows that another node counts it as such.
pub(super) fn restore(cluster: &mut dyn Cluster, node: NodeId, proof: &mut Proof) -> Result<(), FaultError> {
    let is_voter = |members: &BTreeMap<NodeId, Voice>| members.get(&node) == Some(&Voice::Voter);
    until(cluster, node, proof, is_voter, |membership, members| match members.get(&node) {
        None => membership.add(node),
        // It is refused until the node has caught up.
        Some(_) => membership.promote(node),
    })
}

fn until(
    cluster: &mut dyn Cluster,
    node: NodeId,
    proof: &mut Proof,
    done: impl Fn(&BTreeMap<NodeId, Voice>) -> bool,
    mut request: impl FnMut(&mut dyn Membership, &BTreeMap<NodeId, Voice>) -> Result<(), ClusterError>,
) -> Result<(), FaultError> {
    let deadline = Instant::now() + DONE_WITHIN;
    let mut refusal = None;
    loop {
        let told = ask(cluster, &[node])?;
        if let Some(told) = &told
            && done(&told.members)
        {
            proof.note(format!("members told by {}", told.by), Some(node), told.in_words());
            return Ok(());
        }
        if Instant::now() >= deadline {
            let told = told.map_or("no node tells the members".to_owned(), |told| told.in_words());
            let refusal = refusal.map(|refusal| format!("; the last answer: {refusal}")).unwrap_or_default();
            let seen = format!("not within {DONE_WITHIN:?}: {told}{refusal}");
            proof.require(false, "members", Some(node), seen);
            return Ok(());
        }
        if let Some(told) = told {
            match request(membership(cluster)?, &told.members) {
                Ok(()) => (),
                Err(error @ (ClusterError::Refused { .. } | ClusterError::Down(_))) => {
                    refusal = Some(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        thread::sleep(POLL);
    }
}
