//! Clients' commands: into the log at the leader, forwarded by followers (§8).
//!
//! The rule: a command is rejected only if it is in no log. Once a leader has appended it, only the log can
//! tell what becomes of it, and whoever waits for it gets an answer when the entry is applied, or none.
//!
//! A forwarded command is forwarded once. A node that is not the leader turns it away instead of passing it
//! on, because two nodes that take each other for the leader would pass it on for ever.

use super::{Entry, Message, NodeId, Output, Payload, Raft, RejectReason, RequestId, State};

/// Most entries that a leader takes without having committed them: a leader that is cut off must not grow
/// without bound. Far more than can be under way at a time in a cluster that works.
const UNCOMMITTED_MAX: u64 = 16_384;

impl Raft {
    /// A client of this node asks for a command to be replicated.
    pub(super) fn on_client_propose(&mut self, request: RequestId, command: Vec<u8>) {
        match self.leader {
            Some(leader) if leader != self.id() => self.send(leader, Message::Propose { request, command }),
            Some(_) => self.propose(request, command),
            None => self.refuse(request, RejectReason::NoLeader),
        }
    }

    /// A follower forwards a command.
    pub(super) fn on_propose(&mut self, from: NodeId, request: RequestId, command: Vec<u8>) {
        match self.state {
            State::Leader(_) => self.propose(request, command),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                self.send(from, Message::Reject { request, reason: RejectReason::NotLeader });
            }
        }
    }

    fn propose(&mut self, request: RequestId, command: Vec<u8>) {
        if self.is_transferring() {
            self.refuse(request, RejectReason::Transferring);
            return;
        }
        // Saturating, because a planted bug may have lost what was committed.
        if self.log.last_index().saturating_sub(self.commit) >= UNCOMMITTED_MAX {
            self.refuse(request, RejectReason::Busy);
            return;
        }
        self.append_as_leader(Payload::Command { request, command });
        if !self.rules.answers_after_commit() && request.node == self.id() {
            self.outputs.push(Output::AckEarly { request });
        }
        self.broadcast();
    }

    /// The first entry of a term. It commits what former leaders left (§5.4.2) and tells what is committed
    /// (§8).
    pub(super) fn append_noop(&mut self) {
        self.append_as_leader(Payload::Noop);
    }

    /// A leader only ever appends to its log (leader append-only, Figure 3).
    pub(super) fn append_as_leader(&mut self, payload: Payload) {
        assert!(matches!(self.state, State::Leader(_)), "only a leader creates entries");
        self.append(&[Entry { index: self.log.last_index() + 1, term: self.term, payload }]);
    }

    /// Tells whoever took the request from its client that it has had no effect and never will.
    pub(super) fn refuse(&mut self, request: RequestId, reason: RejectReason) {
        if request.node == self.id() {
            self.outputs.push(Output::Rejected { request, reason });
        } else {
            self.send(request.node, Message::Reject { request, reason });
        }
    }

    /// The leader (or who was thought to be it) has turned away what this node forwarded.
    pub(super) fn on_reject(&mut self, request: RequestId, reason: RejectReason) {
        if request.node == self.id() {
            self.forget_forwarded_read(request);
            self.outputs.push(Output::Rejected { request, reason });
        }
    }
}
