//! Who belongs to the cluster, and changing it one server at a time (thesis §4.1 to §4.4).
//!
//! A configuration is an entry of the log that holds all members. A node goes by the *latest* one in its log, committed
//! or not (§4.1), so a configuration comes into force when it is appended and goes when it is cut off. Two
//! configurations that differ by one voter have no two majorities without a common node; that is why a leader makes
//! one change at a time, and, since two leaders could each have made one, only after it has committed an entry of its
//! own term (the correction of 2015 to §4.1).
//!
//! ```text
//!   add (learner)          promote                     remove
//!   ─────────────▶ learner ───────▶ voter ───────────────────────▶ gone: a leader steps down when that is committed
//!                  gets entries,    has caught up first (§4.2.1)
//!                  has no vote
//! ```
//!
//! Votes and entries are taken from any node, member or not: a node whose log is behind does not know yet who leads
//! (§4.2.2). A removed node that does not know it is kept from disturbing by PreVote and by the stickiness of those who
//! hear a leader (§4.2.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::{Index, Message, NodeId, Output, Payload, Raft, RejectReason, RequestId, State};
use crate::trace::TraceEvent;

/// Whether a member has a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suffrage {
    /// Its vote and its copy count.
    Voter,
    /// It only gets entries.
    Learner,
}

/// What the cluster knows of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Whether it has a vote.
    pub suffrage: Suffrage,
    /// Where it listens for its peers; empty if every node was started with that knowledge.
    pub address: String,
}

/// A configuration: all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members(pub BTreeMap<NodeId, Member>);

/// A change by one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node that is no member becomes one.
    Add {
        /// The node.
        node: NodeId,
        /// What it becomes.
        member: Member,
    },
    /// A learner that has caught up gets a vote.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A member is one no longer.
    Remove {
        /// The member.
        node: NodeId,
    },
}

impl Members {
    /// Voters without addresses.
    #[must_use]
    pub fn founders(voters: &[NodeId]) -> Self {
        let member = Member { suffrage: Suffrage::Voter, address: String::new() };
        Self(voters.iter().map(|&voter| (voter, member.clone())).collect())
    }

    /// Those with a vote.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.with(Suffrage::Voter)
    }

    /// Those without.
    #[must_use]
    pub fn learners(&self) -> Vec<NodeId> {
        self.with(Suffrage::Learner)
    }

    fn with(&self, suffrage: Suffrage) -> Vec<NodeId> {
        self.0.iter().filter(|(_, member)| member.suffrage == suffrage).map(|(&node, _)| node).collect()
    }

    /// Whether the node has a vote.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(|member| member.suffrage == Suffrage::Voter)
    }

    /// The configuration after a change, or why there is none.
    fn after(&self, change: &Change) -> Result<Self, RejectReason> {
        let mut members = self.clone();
        match change {
            Change::Add { node, member } => {
                if members.0.insert(*node, member.clone()).is_some() {
                    return Err(RejectReason::MemberExists);
                }
            }
            Change::Promote { node } => {
                let member = members.0.get_mut(node).ok_or(RejectReason::MemberNotFound)?;
                if member.suffrage == Suffrage::Voter {
                    return Err(RejectReason::NotLearner);
                }
                member.suffrage = Suffrage::Voter;
            }
            Change::Remove { node } => {
                members.0.remove(node).ok_or(RejectReason::MemberNotFound)?;
            }
        }
        Ok(members)
    }
}

/// The configurations of a log: the one that its compacted part ended with, and those of its entries.
#[derive(Debug)]
pub(super) struct Configurations {
    base: (Index, Members),
    /// In the order of the log.
    later: Vec<(Index, Members)>,
}

impl Configurations {
    pub(super) fn new(index: Index, members: Members) -> Self {
        Self { base: (index, members), later: Vec::new() }
    }

    pub(super) fn latest(&self) -> &Members {
        &self.later.last().unwrap_or(&self.base).1
    }

    /// The entry that holds the latest configuration.
    pub(super) fn latest_index(&self) -> Index {
        self.later.last().unwrap_or(&self.base).0
    }

    /// The one before the latest.
    fn previous(&self) -> &Members {
        let before = self.later.len().checked_sub(2).map_or(&self.base, |position| &self.later[position]);
        &before.1
    }

    /// The configuration that a log up to `index` ends with.
    pub(super) fn at(&self, index: Index) -> &Members {
        &self.later.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.base).1
    }

    pub(super) fn push(&mut self, index: Index, members: Members) {
        self.later.push((index, members));
    }

    /// Entries from `from` on are gone. True if the latest configuration went with them.
    pub(super) fn truncate(&mut self, from: Index) -> bool {
        let before = self.later.len();
        self.later.retain(|(index, _)| *index < from);
        self.later.len() < before
    }

    /// What comes before `index` is compacted.
    pub(super) fn compact(&mut self, index: Index) {
        while self.later.first().is_some_and(|(at, _)| *at <= index) {
            self.base = self.later.remove(0);
        }
    }

    /// The indexes of those in `(after, upto]`.
    fn between(&self, after: Index, upto: Index) -> Vec<Index> {
        self.later.iter().map(|(index, _)| *index).filter(|&index| after < index && index <= upto).collect()
    }
}

impl Raft {
    /// Who belongs to the cluster, as far as this node's log tells.
    #[must_use]
    pub fn members(&self) -> &Members {
        self.configurations.latest()
    }

    pub(super) fn is_voter(&self) -> bool {
        self.members().is_voter(self.id())
    }

    /// The others that have a vote.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let mut voters = self.members().voters();
        voters.retain(|&voter| voter != self.id());
        voters
    }

    /// Whether these, and this node if it may count itself, are a quorum. Who has no vote does not count.
    pub(super) fn is_quorum_with_self(&self, nodes: &[NodeId]) -> bool {
        let members = self.members();
        let voters = nodes.iter().filter(|&&node| members.is_voter(node)).count();
        let own = usize::from(self.is_voter() || self.rules.counts_itself_when_removed());
        self.is_quorum(voters + own)
    }

    /// Whether this node may ask for votes. A removed one may until its removal is known to be committed: it may be
    /// the only one whose log is good enough (§4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        let leaves = self.configurations.latest_index() > self.commit
            && self.configurations.previous().is_voter(self.id());
        let waits = self.config.joins && self.log.last_index() == 0;
        (self.is_voter() || leaves) && !waits
    }

    /// A client of this node asks for a change.
    pub(super) fn on_client_change(&mut self, request: RequestId, change: Change) {
        match self.leader {
            Some(leader) if leader != self.id() => self.send(leader, Message::Change { request, change }),
            Some(_) => self.change(request, &change),
            None => self.refuse(request, RejectReason::NoLeader),
        }
    }

    /// A follower forwards a change.
    pub(super) fn on_change(&mut self, from: NodeId, request: RequestId, change: &Change) {
        match self.state {
            State::Leader(_) => self.change(request, change),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                self.send(from, Message::Reject { request, reason: RejectReason::NotLeader });
            }
        }
    }

    fn change(&mut self, request: RequestId, change: &Change) {
        match self.checked(change) {
            Ok(members) => {
                self.append_as_leader(Payload::Members { request, members });
                self.broadcast();
            }
            Err(reason) => self.refuse(request, reason),
        }
    }

    /// The configuration after the change, if it may be made now.
    fn checked(&self, change: &Change) -> Result<Members, RejectReason> {
        if self.is_transferring() {
            return Err(RejectReason::Transferring);
        }
        if !self.has_committed_in_term() && self.rules.changes_wait_for_commit_of_term() {
            return Err(RejectReason::NotReady);
        }
        if self.configurations.latest_index() > self.commit && self.rules.changes_one_at_a_time() {
            return Err(RejectReason::ChangePending);
        }
        let members = self.members().after(change)?;
        let State::Leader(leader) = &self.state else { unreachable!("only a leader makes changes") };
        if let Change::Promote { node } = change
            && !leader.progress.get(node).is_some_and(|progress| in_sync(progress, self.log.last_index()))
        {
            return Err(RejectReason::NotInSync);
        }
        // What is committed by the new configuration needs its quorum, and so does undoing the change.
        let fresh = |node: &NodeId| {
            let heard = leader.progress.get(node).and_then(|progress| progress.heard_at);
            *node == self.id()
                || heard.is_some_and(|at| self.now - at <= u64::from(self.config.election_ticks))
        };
        let voters = members.voters();
        let active = voters.iter().filter(|voter| fresh(voter)).count();
        if !self.rules.is_quorum(active, voters.len()) {
            return Err(RejectReason::TooFewActive);
        }
        Ok(members)
    }

    /// An entry with a configuration is now the log's last one.
    pub(super) fn adopt_members(&mut self, index: Index, members: Members) {
        self.configurations.push(index, members);
        self.members_changed();
    }

    /// The log was cut from `from` on.
    pub(super) fn roll_back_members(&mut self, from: Index) {
        if self.rules.truncation_restores_members() && self.configurations.truncate(from) {
            self.members_changed();
        }
    }

    /// Tells of the configuration in force, and lets a leader follow it.
    pub(super) fn members_changed(&mut self) {
        let members = self.members().clone();
        self.trace(TraceEvent::Members {
            index: self.configurations.latest_index(),
            voters: members.voters(),
            learners: members.learners(),
        });
        let (id, next) = (self.id(), self.log.last_index() + 1);
        if let State::Leader(leader) = &mut self.state {
            for &node in members.0.keys().filter(|&&node| node != id) {
                leader.progress.entry(node).or_insert_with(|| Progress::new(next));
            }
        }
        self.outputs.push(Output::Members(members));
    }

    /// The commit index has moved from `before`.
    pub(super) fn note_committed_members(&mut self, before: Index) {
        for index in self.configurations.between(before, self.commit) {
            self.trace(TraceEvent::MembersCommitted { index });
        }
    }

    /// Whoever is no member any more was told of it with the last message, and a leader among them is done.
    pub(super) fn part_with_the_removed(&mut self) {
        if self.configurations.latest_index() > self.commit {
            return;
        }
        let members = self.configurations.latest();
        let State::Leader(leader) = &mut self.state else { return };
        leader.progress.retain(|node, _| members.0.contains_key(node));
        if !self.is_voter() && !self.rules.counts_itself_when_removed() {
            self.become_follower(self.term);
        }
    }
}

/// A learner that lacks more than a tenth of the log would hold up commits as a voter (§4.2.1; the measure is etcd's).
fn in_sync(progress: &Progress, last_index: Index) -> bool {
    progress.matched().saturating_mul(10) >= last_index.saturating_mul(9)
}
