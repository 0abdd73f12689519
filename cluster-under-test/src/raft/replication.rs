//! Log replication: the leader's entries to its followers (§5.3).
//!
//! Every `Append` names the entry before its own. A follower that has that entry takes what follows; one that
//! does not says where its log might meet the leader's, and the leader steps back. By induction, logs that
//! agree on the last entry agree on all before it. An `Append` without entries is a heartbeat: it carries the
//! commit index and the leader's read round, and finds lost messages, because it too names an entry before.
//!
//! The answer of a follower names what was compared with the leader's log (previous index plus number of
//! entries), never what else the log may hold, and waits until that is durable.

use std::collections::BTreeMap;

use super::durability::Promise;
use super::lease::Lease;
use super::progress::{Mode, Progress};
use super::read::Rounds;
use super::{AppendOutcome, Entry, Index, Message, NodeId, Raft, RequestId, State};
use crate::rules::LogEnd;
use crate::trace::TraceEvent;

/// What only a leader knows. Made anew at each election (Figure 2, volatile state on leaders).
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) progress: BTreeMap<NodeId, Progress>,
    pub(super) rounds: Rounds,
    pub(super) lease: Lease,
    since_heartbeat: u32,
    since_quorum_check: u32,
}

impl Leader {
    pub(super) fn new(peers: impl Iterator<Item = NodeId>, last_index: Index) -> Self {
        Self {
            progress: peers.map(|peer| (peer, Progress::new(last_index + 1))).collect(),
            rounds: Rounds::default(),
            lease: Lease::default(),
            since_heartbeat: 0,
            since_quorum_check: 0,
        }
    }

    /// The followers that have answered since this was asked last.
    pub(super) fn take_active(&mut self) -> Vec<NodeId> {
        let active = |(&node, progress): (&NodeId, &mut Progress)| {
            std::mem::take(&mut progress.active).then_some(node)
        };
        self.progress.iter_mut().filter_map(active).collect()
    }

    /// The reads that are not answered yet.
    pub(super) fn into_reads(self) -> Vec<RequestId> {
        self.rounds.into_requests()
    }
}

/// The leader's side.
impl Raft {
    pub(super) fn tick_leader(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.since_heartbeat += 1;
        leader.since_quorum_check += 1;
        let heartbeat_due = leader.since_heartbeat >= self.config.heartbeat_ticks;
        let check_due = leader.since_quorum_check >= self.config.election_ticks;
        if heartbeat_due {
            leader.since_heartbeat = 0;
            self.begin_lease_round();
            self.broadcast_heartbeat();
        }
        if check_due && let State::Leader(leader) = &mut self.state {
            leader.since_quorum_check = 0;
            self.check_quorum();
        }
    }

    pub(super) fn broadcast(&mut self) {
        for peer in self.followers() {
            self.send_news(peer);
        }
    }

    /// The entries that the follower lacks and there is room for, or else the commit index, if it is news.
    pub(super) fn send_news(&mut self, to: NodeId) {
        self.send_entries(to);
        let State::Leader(leader) = &self.state else { return };
        let Some(progress) = leader.progress.get(&to) else { return };
        if progress.mode() == Mode::Replicate && progress.commit_sent < self.commit {
            self.send_append(to, Vec::new());
        }
    }

    pub(super) fn broadcast_heartbeat(&mut self) {
        for peer in self.followers() {
            let State::Leader(leader) = &mut self.state else { return };
            let progress = leader.progress.get_mut(&peer).expect("there is a progress for every peer");
            match progress.mode() {
                // The probe is repeated, in case it was lost.
                Mode::Probe => {
                    progress.forget_unanswered();
                    self.send_entries(peer);
                    let State::Leader(leader) = &self.state else { return };
                    if leader.progress[&peer].has_room(1) {
                        self.send_append(peer, Vec::new());
                    }
                }
                Mode::Replicate => self.send_append(peer, Vec::new()),
                Mode::Snapshot(transfer) => {
                    let late = progress.chunk_is_late();
                    self.send_greeting(peer);
                    if late {
                        self.send_chunk(peer, transfer.offset);
                    }
                }
            }
        }
    }

    /// Asks every follower to echo the round, without repeating entries to those that have not answered yet.
    pub(super) fn broadcast_round(&mut self) {
        for peer in self.followers() {
            let State::Leader(leader) = &self.state else { return };
            match leader.progress[&peer].mode() {
                Mode::Replicate => self.send_append(peer, Vec::new()),
                Mode::Probe | Mode::Snapshot(_) => self.send_greeting(peer),
            }
        }
    }

    /// A heartbeat that matches every log, because it names no entry. It says the commit index like any
    /// other, and the follower knows that nothing of its log was compared.
    fn send_greeting(&mut self, to: NodeId) {
        let State::Leader(leader) = &self.state else { return };
        let round = leader.rounds.latest();
        let commit = self.commit;
        self.send(to, Message::Append { prev_index: 0, prev_term: 0, entries: Vec::new(), commit, round });
    }

    /// Entries to a follower, as many messages as its pipeline has room for; a snapshot, if they are gone.
    fn send_entries(&mut self, to: NodeId) {
        loop {
            let State::Leader(leader) = &self.state else { return };
            let Some(progress) = leader.progress.get(&to) else { return };
            if !progress.has_room(self.config.pipeline_max) {
                return;
            }
            if progress.next() <= self.log.base().index {
                self.begin_snapshot(to);
                return;
            }
            let entries = self.log.slice(progress.next(), self.config.append_entries_max);
            if entries.is_empty() {
                return;
            }
            self.send_append(to, entries);
        }
    }

    fn send_append(&mut self, to: NodeId, entries: Vec<Entry>) {
        let State::Leader(leader) = &mut self.state else { return };
        let round = leader.rounds.latest();
        let progress = leader.progress.get_mut(&to).expect("there is a progress for every peer");
        let prev_index = progress.next() - 1;
        let Some(prev_term) = self.log.term(prev_index) else {
            // A heartbeat to a follower whose next entry is gone.
            self.begin_snapshot(to);
            return;
        };
        if let Some(last) = entries.last() {
            progress.sent(last.index);
        }
        progress.commit_sent = self.commit;
        self.send(to, Message::Append { prev_index, prev_term, entries, commit: self.commit, round });
    }

    pub(super) fn on_append_reply(&mut self, from: NodeId, outcome: AppendOutcome, round: u64) {
        let last_index = self.log.last_index();
        let State::Leader(leader) = &mut self.state else { return };
        // Who was removed may still answer.
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.active = true;
        progress.heard_at = Some(self.now);
        match outcome {
            // Only what was sent can match. (A planted bug may claim more.)
            AppendOutcome::Matched { index } => {
                progress.match_to(index.min(last_index));
                self.invariant(index <= last_index, "a follower matches no more than it was sent");
                self.advance_commit();
            }
            AppendOutcome::Conflict { term, first_index, rejected_index } => {
                // If this log has the follower's term too, the logs may meet where it ends here; otherwise
                // the whole term is foreign and is skipped at once (§5.3).
                let here = term.and_then(|term| self.log.last_of_term(term));
                progress.back_up(rejected_index, here.map_or(first_index, |last| last + 1));
            }
        }
        self.on_round_echo(from, round);
        self.send_news(from);
        self.advance_transfer();
    }
}

/// The follower's side.
impl Raft {
    /// The leader's log has `entries` behind `prev`.
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        mut prev: LogEnd,
        mut entries: Vec<Entry>,
        leader_commit: Index,
        round: u64,
    ) {
        let contiguous = (prev.index + 1..).zip(&entries).all(|(index, entry)| entry.index == index);
        if !contiguous {
            // No leader sends such a thing; whatever did gets no answer.
            return;
        }
        if self.disk.durable() < self.log.base().index {
            // A snapshot that replaced the log is still on its way to the disk, and nothing is built on it
            // before. The leader sends again.
            return;
        }
        let is_heartbeat = entries.is_empty();
        let checked = prev.index + entries.len() as u64;
        let base = self.log.base();
        if prev.index < base.index {
            // What is compacted here is committed and so in the log of every leader since (leader
            // completeness, §5.4.3): compare from there on.
            entries.retain(|entry| entry.index > base.index);
            prev = base;
        }
        if !self.rules.prev_log_matches(self.log.term(prev.index), prev.term) {
            self.reply_conflict(from, prev.index, round);
            return;
        }
        self.take_entries(&entries, checked);
        let commit = self.rules.follower_commit(leader_commit, checked, self.log.last_index());
        self.commit_to(commit);
        self.reply_matched(from, checked, is_heartbeat, round);
    }

    /// Appends what is not there yet, in place of what conflicts (Figure 2, AppendEntries steps 3 and 4).
    fn take_entries(&mut self, entries: &[Entry], checked: Index) {
        let news = entries.iter().position(|entry| self.log.term(entry.index) != Some(entry.term));
        if let Some(news) = news {
            let news = &entries[news..];
            self.truncate(news[0].index);
            self.append(news);
        } else if !self.rules.truncates_only_at_conflict() && !entries.is_empty() {
            self.truncate(checked + 1);
        }
    }

    /// Removes the entry at `from` and all after it, if there are any.
    fn truncate(&mut self, from: Index) {
        if from > self.log.last_index() {
            return;
        }
        self.invariant(from > self.commit, "a committed entry is never removed");
        self.trace(TraceEvent::Truncate { from_index: from });
        self.log.truncate(from);
        self.disk.truncate(from);
        self.roll_back_members(from);
    }

    fn reply_matched(&mut self, to: NodeId, checked: Index, is_heartbeat: bool, round: u64) {
        let index = self.rules.match_index(checked, self.log.last_index());
        let durable = self.disk.durable();
        // The answer to a heartbeat does not wait for entries on their way to the disk: it claims less. But
        // even that is said as a member of this term, which must be durable.
        let (index, seq) = if is_heartbeat && self.rules.syncs_before_ack() {
            (index.min(durable), self.disk.hard_state_seq())
        } else if index <= durable {
            (index, self.disk.hard_state_seq())
        } else {
            (index, self.disk.latest_seq())
        };
        let reply = Message::AppendReply { outcome: AppendOutcome::Matched { index }, round };
        if self.rules.syncs_before_ack() {
            self.promise(seq, Promise::Send(self.envelope(to, reply)));
        } else {
            self.send(to, reply);
        }
    }

    pub(super) fn reply_conflict(&mut self, to: NodeId, rejected_index: Index, round: u64) {
        let term = self.log.term(rejected_index);
        let first_index = self.log.first_of_term_at(rejected_index).unwrap_or(self.log.last_index() + 1);
        let outcome = AppendOutcome::Conflict { term, first_index, rejected_index };
        self.send(to, Message::AppendReply { outcome, round });
    }
}
