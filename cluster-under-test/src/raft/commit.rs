//! What is committed, and handing it to the state machine (§5.3, §5.4.2).
//!
//! A leader counts copies that are durable, its own included, and only of entries of its own term: what lies
//! before such an entry is committed with it. Followers learn the commit index from the next message.
//! Committed entries are applied in order, each once in a life.

use super::{Index, NodeId, Output, Raft, State};
use crate::trace::TraceEvent;

impl Raft {
    /// Commits what a quorum has by now. Does nothing unless this node leads.
    pub(super) fn advance_commit(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let members = self.members();
        let counts = |node: &NodeId| {
            members.is_voter(*node) || (members.0.contains_key(node) && self.rules.counts_learners())
        };
        let others = leader.progress.iter().filter(|(node, _)| counts(node));
        let others = others.map(|(_, progress)| progress.matched());
        let own =
            (counts(&self.id()) || self.rules.counts_itself_when_removed()).then(|| self.disk.durable());
        let mut matched: Vec<Index> = own.into_iter().chain(others).collect();
        if self.rules.counts_learners() {
            // Whoever has most, as many as there are voters.
            matched.sort_unstable_by(|a, b| b.cmp(a));
            matched.truncate(members.voters().len());
        }
        let index = self.rules.quorum_index(&matched);
        if index <= self.commit {
            return;
        }
        if self.rules.commits_only_current_term() && self.log.term(index) != Some(self.term) {
            return;
        }
        self.commit_to(index);
        // Followers that forwarded requests answer their clients when they apply: tell them now.
        self.broadcast();
        self.begin_round();
        self.part_with_the_removed();
    }

    /// The log is committed up to `index`, or further already.
    pub(super) fn commit_to(&mut self, index: Index) {
        self.invariant(index <= self.log.last_index(), "only entries in the log are committed");
        let index = index.min(self.log.last_index());
        if index <= self.commit {
            return;
        }
        let entry_term = self.log.term(index).expect("it is in the log and behind the base");
        let before = std::mem::replace(&mut self.commit, index);
        self.trace(TraceEvent::Commit { term: self.term, index, entry_term });
        self.note_committed_members(before);
        self.apply();
    }

    fn apply(&mut self) {
        let entries = self.log.range(self.applied + 1, self.commit);
        let Some(last) = entries.last() else { return };
        self.applied = last.index;
        self.outputs.push(Output::Apply(entries));
        self.serve_reads_that_waited();
    }

    /// Whether the leader has committed an entry of its term, and with it all that its predecessors
    /// committed.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.term(self.commit) == Some(self.term)
    }
}
