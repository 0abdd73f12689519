//! PreVote: asking whether an election could be won before disturbing anybody with it (thesis §9.6).
//!
//! A node that was cut off would otherwise raise its term again and again, and depose a working leader when
//! it comes back. The question changes nothing at the node that is asked: no term, no vote, no timer. The
//! answer is yes if the node would vote for such a log in that term and has not heard from a leader lately.
//!
//! A `PreVote` carries the term that the asker would campaign in, and so does a yes, which tells it from a
//! yes to an older question. A no carries the term of the node that says it: an asker that is behind adopts
//! it, and only so do two nodes meet of which one has the better log and the other the newer term.

use super::election::Votes;
use super::{Envelope, Message, NodeId, Output, Raft, State, Term};
use crate::rules::LogEnd;
use crate::trace::{PreVoteAnswer, TraceEvent};

impl Raft {
    /// Asks the others. Term and vote stay as they are.
    pub(super) fn pre_campaign(&mut self) {
        // The old leader is forgotten: who keeps it would refuse the others' questions on its behalf.
        self.set_leader(None);
        // A fresh tally, not that of the last attempt.
        self.set_state(State::PreCandidate(Votes::default()));
        self.restart_timer();
        self.trace(TraceEvent::PreVote { term: self.term + 1 });
        for peer in self.other_voters() {
            self.send_pre_vote(peer);
        }
        self.count_pre_vote(self.id());
    }

    pub(super) fn send_pre_vote(&mut self, to: NodeId) {
        let LogEnd { term: last_term, index: last_index } = self.log.end();
        let message = Message::PreVote { last_index, last_term };
        let envelope = Envelope { from: self.id(), to, term: self.term + 1, message };
        self.outputs.push(Output::Send(envelope));
    }

    /// A node whose log ends at `end` asks whether it would get this node's vote in `term`.
    pub(super) fn on_pre_vote(&mut self, from: NodeId, term: Term, end: LogEnd) {
        if term <= self.term {
            if self.rules.answers_stale_pre_vote() {
                self.trace_answer(from, term, PreVoteAnswer::TermPassed);
                self.send(from, Message::PreVoteReply { granted: false });
            }
            return;
        }
        if !self.rules.pre_vote_keeps_term() {
            self.become_follower(term);
        }
        let led = self.hears_leader() && self.rules.refuses_pre_vote_despite_leader();
        if led || !self.rules.is_up_to_date(end, self.log.end()) {
            let answer = if led { PreVoteAnswer::LeaderAlive } else { PreVoteAnswer::LogBehind };
            self.trace_answer(from, term, answer);
            self.send(from, Message::PreVoteReply { granted: false });
            return;
        }
        self.trace_answer(from, term, PreVoteAnswer::Granted);
        let message = Message::PreVoteReply { granted: true };
        self.outputs.push(Output::Send(Envelope { from: self.id(), to: from, term, message }));
    }

    fn trace_answer(&mut self, candidate: NodeId, term: Term, answer: PreVoteAnswer) {
        self.trace(TraceEvent::PreVoteAnswer { term, candidate, answer });
    }

    /// A yes to the question about `term`.
    pub(super) fn on_pre_vote_granted(&mut self, from: NodeId, term: Term) {
        if term == self.term + 1 {
            self.count_pre_vote(from);
        }
    }

    fn count_pre_vote(&mut self, voter: NodeId) {
        // Leaders and candidates have no use for late answers.
        let State::PreCandidate(votes) = &mut self.state else { return };
        // Nothing is promised by these votes, so a bug that counts twice is planted in real ones only.
        votes.add(voter, true);
        let count = votes.count(self.configurations.latest());
        if self.is_quorum(count) {
            self.campaign();
        }
    }
}
