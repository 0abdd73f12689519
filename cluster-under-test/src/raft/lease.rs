//! Reads by a lease instead of a round of messages (thesis §6.4.1). Off unless asked for.
//!
//! A follower that has heard from its leader does not vote for the least election timeout (stickiness), and neither does
//! one that has just started, because it may have heard in its former life. So when a majority has answered a message,
//! no other leader can come up for that time *after the message was sent*; the answer may have been long under way.
//!
//! ```text
//!   leader    ├─ round sent ──────── answers ─────── lease ends ┤
//!   follower        ├─ heard ─────────── does not vote ────────────────┤
//! ```
//!
//! The two ends are measured by two clocks. If the leader's runs slow, or the follower's fast, by more than the margin,
//! the lease outlives the promise and reads are stale: that is the price of this option, and why it is not the default.
//! A node that is stopped and goes on looks at the clock first, so a pause ends a lease.

use std::collections::{BTreeMap, VecDeque};

use super::{NodeId, Raft, State};

/// Rounds that are remembered. An answer to an older one proves nothing that is still of use.
const ROUNDS_MAX: usize = 64;

/// What one leadership knows of its followers' promises.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// When each round began, by the leader's clock in ms.
    begun: VecDeque<(u64, u64)>,
    /// The beginning of the latest round that each follower has answered.
    answered: BTreeMap<NodeId, u64>,
    ended: bool,
}

impl Lease {
    /// No lease any more in this term.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// A round begins now.
    pub(super) fn begin(&mut self, round: u64, now_ms: u64) {
        self.begun.push_back((round, now_ms));
        if self.begun.len() > ROUNDS_MAX {
            self.begun.pop_front();
        }
    }
}

impl Raft {
    /// What the node's monotonic clock shows. Only leases depend on it; the rest of the protocol counts ticks.
    pub fn observe_clock(&mut self, now_ms: u64) {
        self.clock_ms = now_ms;
    }

    /// Messages that are sent from now on carry a new number, so that their answers can be told from older ones.
    pub(super) fn begin_lease_round(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if self.config.lease_ms.is_some() {
            let round = leader.rounds.count_up();
            leader.lease.begin(round, self.clock_ms);
        }
    }

    /// A follower has answered a message of this round.
    pub(super) fn extend_lease(&mut self, from: NodeId, round: u64) {
        let from_send = self.rules.lease_begins_at_send();
        let State::Leader(leader) = &mut self.state else { return };
        let begun = leader.lease.begun.iter().find(|(number, _)| *number == round);
        if let Some(&(_, begun_ms)) = begun {
            let start = if from_send { begun_ms } else { self.clock_ms };
            let answered = leader.lease.answered.entry(from).or_default();
            *answered = start.max(*answered);
        }
    }

    /// The age of the lease, if there is one.
    pub(super) fn lease_age_ms(&self) -> Option<u64> {
        let State::Leader(leader) = &self.state else { return None };
        let granted_ms = self.config.lease_ms.filter(|_| !leader.lease.ended)?;
        let start = |voter: NodeId| match voter == self.id() {
            true => self.clock_ms,
            false => leader.lease.answered.get(&voter).copied().unwrap_or(0),
        };
        // The latest time from which on a quorum has promised: the same question as which index a quorum has.
        let starts: Vec<u64> = self.members().voters().into_iter().map(start).collect();
        let begun_ms = self.rules.quorum_index(&starts);
        let age_ms = self.clock_ms.saturating_sub(begun_ms);
        (begun_ms > 0 && age_ms < self.rules.lease_ms(granted_ms)).then_some(age_ms)
    }
}
