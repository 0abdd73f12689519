//! Linearizable reads without an entry in the log: ReadIndex (§8, thesis §6.4).
//!
//! ```text
//!   a read arrives          the leader has committed an entry of its term, or the read waits for that
//!   a round begins          the commit index is noted, every follower is asked for an echo
//!   a majority has echoed   it was still the leader when the read arrived
//!   the index is applied    at the node that took the read, which serves it
//! ```
//!
//! One round is under way at a time and serves all reads that waited when it began; those that arrive
//! meanwhile wait for the next one. A round has a number that every `Append` carries and every answer echoes;
//! it is repeated with the heartbeats until enough echoes are there or the leader steps down.
//!
//! A follower asks its leader for an index and serves the read from its own state. A read has no effect, so
//! it may be turned away at any time: when the leader changes, or when it has been silent for too long.

use std::collections::BTreeMap;

use super::{Index, Message, NodeId, Output, Raft, RejectReason, RequestId, State};
use crate::trace::TraceEvent;

/// Most reads that wait at a leader, and most that a follower has forwarded.
const READS_MAX: usize = 16_384;
/// A forwarded read is given up after this many least election timeouts: its question or the answer is lost.
const FORWARDED_READ_TIMEOUTS: u64 = 2;

/// The rounds of one leadership.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The number of the latest round; 0 is none.
    latest: u64,
    under_way: Option<Round>,
    /// Reads for the next round.
    waiting: Vec<RequestId>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// The commit index when it began.
    index: Index,
    requests: Vec<RequestId>,
    echoes: Vec<NodeId>,
}

impl Rounds {
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// From now on messages carry the next number.
    pub(super) fn count_up(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.under_way.as_ref().map_or(0, |round| round.requests.len())
    }

    pub(super) fn into_requests(self) -> Vec<RequestId> {
        let mut requests = self.under_way.map_or(Vec::new(), |round| round.requests);
        requests.extend(self.waiting);
        requests
    }
}

/// Reads that clients of this node wait for: the index is asked for, or has to be applied.
#[derive(Debug, Default)]
pub(super) struct ForwardedReads(BTreeMap<RequestId, ForwardedRead>);

#[derive(Debug)]
struct ForwardedRead {
    /// The index, once the leader has said it.
    index: Option<Index>,
    /// The tick at which it is given up.
    deadline: u64,
}

/// The leader's side.
impl Raft {
    /// A follower asks for a read index.
    pub(super) fn on_read_index(&mut self, from: NodeId, request: RequestId) {
        match self.state {
            State::Leader(_) => self.read(request),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                self.send(from, Message::Reject { request, reason: RejectReason::NotLeader });
            }
        }
    }

    fn read(&mut self, request: RequestId) {
        let ready = self.may_begin_round();
        let commit = self.commit;
        let lease_age_ms = self.lease_age_ms().filter(|_| ready);
        let State::Leader(leader) = &mut self.state else { return };
        let rounds = &mut leader.rounds;
        if lease_age_ms.is_some() || !self.rules.confirms_leadership_for_reads() {
            self.answer_read(request, commit, lease_age_ms);
        } else if rounds.len() >= READS_MAX {
            self.refuse(request, if ready { RejectReason::Busy } else { RejectReason::NotReady });
        } else if let Some(round) = &mut rounds.under_way
            && !self.rules.reads_begin_new_round()
        {
            round.index = commit;
            round.requests.push(request);
        } else {
            rounds.waiting.push(request);
            self.begin_round();
        }
    }

    fn may_begin_round(&self) -> bool {
        self.has_committed_in_term() || !self.rules.reads_wait_for_commit_of_term()
    }

    /// Begins a round for the reads that wait, if there are any and none is under way.
    pub(super) fn begin_round(&mut self) {
        let ready = self.may_begin_round();
        let State::Leader(leader) = &mut self.state else { return };
        let rounds = &mut leader.rounds;
        if !ready || rounds.under_way.is_some() || rounds.waiting.is_empty() {
            return;
        }
        let number = rounds.count_up();
        leader.lease.begin(number, self.clock_ms);
        rounds.under_way = Some(Round {
            number,
            index: self.commit,
            requests: std::mem::take(&mut rounds.waiting),
            echoes: Vec::new(),
        });
        self.broadcast_round();
        // A cluster of one is its own majority.
        self.end_round();
    }

    /// A follower has answered a message that carried `number`, in this term: at that time it knew no newer
    /// one.
    pub(super) fn on_round_echo(&mut self, from: NodeId, number: u64) {
        self.extend_lease(from, number);
        let State::Leader(leader) = &mut self.state else { return };
        let Some(round) = &mut leader.rounds.under_way else { return };
        if number >= round.number && !round.echoes.contains(&from) {
            round.echoes.push(from);
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let Some(round) = &leader.rounds.under_way else { return };
        if !self.is_quorum_with_self(&round.echoes) {
            return;
        }
        let State::Leader(leader) = &mut self.state else { return };
        let round = leader.rounds.under_way.take().expect("it was just seen");
        for request in round.requests {
            self.answer_read(request, round.index, None);
        }
        self.begin_round();
    }

    fn answer_read(&mut self, request: RequestId, index: Index, lease_age_ms: Option<u64>) {
        if request.node == self.id() {
            self.invariant(index <= self.applied, "a leader has applied what it has committed");
            self.serve_read(request, lease_age_ms);
        } else {
            self.send(request.node, Message::ReadIndexReply { request, index });
        }
    }
}

/// The side of whoever took the read from a client.
impl Raft {
    fn serve_read(&mut self, request: RequestId, lease_age_ms: Option<u64>) {
        self.trace(TraceEvent::Read { term: self.term, index: self.applied, lease_age_ms });
        self.outputs.push(Output::ReadReady { request });
    }

    pub(super) fn on_client_read(&mut self, request: RequestId) {
        match self.leader {
            Some(leader) if leader != self.id() => {
                if self.reads.0.len() >= READS_MAX {
                    self.refuse(request, RejectReason::Busy);
                    return;
                }
                let patience = FORWARDED_READ_TIMEOUTS * u64::from(self.config.election_ticks);
                let read = ForwardedRead { index: None, deadline: self.now + patience };
                self.reads.0.insert(request, read);
                self.send(leader, Message::ReadIndex { request });
            }
            Some(_) => self.read(request),
            None => self.refuse(request, RejectReason::NoLeader),
        }
    }

    pub(super) fn on_read_index_reply(&mut self, request: RequestId, index: Index) {
        // Unknown if it was given up, or if the answer is to a former life.
        let Some(read) = self.reads.0.get_mut(&request) else { return };
        read.index = Some(index);
        if index <= self.applied || !self.rules.reads_wait_for_apply() {
            self.reads.0.remove(&request);
            self.serve_read(request, None);
        }
    }

    /// The state machine has moved on.
    pub(super) fn serve_reads_that_waited(&mut self) {
        let applied = self.applied;
        let reached = |read: &ForwardedRead| read.index.is_some_and(|index| index <= applied);
        let due: Vec<RequestId> =
            self.reads.0.extract_if(.., |_, read| reached(read)).map(|(id, _)| id).collect();
        for request in due {
            self.serve_read(request, None);
        }
    }

    /// Another leader, or none: the one that was asked will perhaps not answer. An index that it gave stays
    /// good.
    pub(super) fn reject_unanswered_reads(&mut self) {
        for (request, _) in self.reads.0.extract_if(.., |_, read| read.index.is_none()) {
            self.outputs.push(Output::Rejected { request, reason: RejectReason::NotLeader });
        }
    }

    pub(super) fn expire_forwarded_reads(&mut self) {
        let now = self.now;
        for (request, _) in self.reads.0.extract_if(.., |_, read| read.deadline <= now) {
            self.outputs.push(Output::Rejected { request, reason: RejectReason::NoLeader });
        }
    }

    pub(super) fn forget_forwarded_read(&mut self, request: RequestId) {
        self.reads.0.remove(&request);
    }
}
