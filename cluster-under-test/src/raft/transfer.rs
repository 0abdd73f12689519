//! Handing over leadership (thesis §3.10).
//!
//! The leader takes no new entries, waits until the target has all it has, and tells it to campaign at once. That
//! campaign asks no PreVote and is heard by nodes that hear a leader: the leader itself has sent it. If the target does
//! not lead within an election timeout, the leader goes on.
//!
//! Such a campaign breaks the promise that leases rest on, and the message that starts it may be late. So a lease ends
//! when a transfer is asked for and does not come back in this term (see [`super::lease`]).

use super::progress::Progress;
use super::{Message, NodeId, Output, Raft, RejectReason, RequestId, State, Term};
use crate::trace::{TraceEvent, TransferPhase};

/// A transfer under way, as long as its client may still be answered.
#[derive(Debug)]
pub(super) struct Transfer {
    request: RequestId,
    to: NodeId,
    term: Term,
    /// The tick at which it is given up.
    deadline: u64,
    sent: bool,
}

impl Raft {
    /// A client of this node, which must be the leader, names its successor.
    pub(super) fn on_client_transfer(&mut self, request: RequestId, to: NodeId) {
        let State::Leader(leader) = &mut self.state else {
            self.refuse(request, RejectReason::NotLeader);
            return;
        };
        if to == self.config.id {
            self.outputs.push(Output::Transferred { request });
            return;
        }
        if !self.configurations.latest().is_voter(to) {
            self.refuse(request, RejectReason::BadTransferee);
            return;
        }
        if self.transfer.is_some() {
            self.refuse(request, RejectReason::Transferring);
            return;
        }
        if self.rules.transfer_ends_lease() {
            leader.lease.end();
        }
        let deadline = self.now + u64::from(self.config.election_ticks);
        self.transfer = Some(Transfer { request, to, term: self.term, deadline, sent: false });
        self.trace_transfer(to, self.term, TransferPhase::Asked);
        self.send_news(to);
        self.advance_transfer();
    }

    /// Whether this node, which leads, is about to lead no more.
    pub(super) fn is_transferring(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.term == self.term)
    }

    /// Sends the target on its way once it has everything.
    pub(super) fn advance_transfer(&mut self) {
        let (Some(transfer), State::Leader(leader)) = (&mut self.transfer, &self.state) else { return };
        let matched = leader.progress.get(&transfer.to).map_or(0, Progress::matched);
        let caught_up = matched == self.log.last_index() || !self.rules.transfer_waits_for_catch_up();
        if transfer.sent || !caught_up {
            return;
        }
        transfer.sent = true;
        let to = transfer.to;
        self.trace_transfer(to, self.term, TransferPhase::Sent);
        self.send(to, Message::TimeoutNow);
    }

    /// The leader says: campaign now.
    pub(super) fn on_timeout_now(&mut self, from: NodeId) {
        let follows = matches!(self.state, State::Follower) && self.leader == Some(from);
        if follows && self.may_campaign() {
            self.campaign_by_transfer();
        }
    }

    /// Another node is known to lead: the transfer has ended one way or the other.
    pub(super) fn end_transfer(&mut self, leader: NodeId) {
        let Some(Transfer { request, to, term, .. }) = self.transfer.take() else { return };
        if leader == to {
            self.trace_transfer(to, term, TransferPhase::Done);
            self.outputs.push(Output::Transferred { request });
        } else {
            self.trace_transfer(to, term, TransferPhase::Abandoned);
            self.outputs.push(Output::Rejected { request, reason: RejectReason::NotLeader });
        }
    }

    pub(super) fn expire_transfer(&mut self) {
        let now = self.now;
        if let Some(Transfer { request, to, term, .. }) =
            self.transfer.take_if(|transfer| transfer.deadline <= now)
        {
            self.trace_transfer(to, term, TransferPhase::Abandoned);
            self.outputs.push(Output::Rejected { request, reason: RejectReason::TransferTimedOut });
        }
    }

    fn trace_transfer(&mut self, to: NodeId, term: Term, phase: TransferPhase) {
        self.trace(TraceEvent::Transfer { term, to, phase });
    }
}
