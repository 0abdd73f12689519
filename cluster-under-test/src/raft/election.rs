//! Elections: timeouts, votes and terms (§5.2, §5.4.1), and when a leader gives up (thesis §6.2).
//!
//! A candidate makes its term and its own vote durable before it asks anybody, so a node that restarts can
//! never lead a term that it has led before. It asks again with every heartbeat interval, because answers may
//! be lost.
//!
//! With CheckQuorum a follower that hears from a leader does not even look at a `Vote` (leader stickiness,
//! thesis §4.2.3): the voter's lease. The leader holds up its side by stepping down when a majority is
//! silent.

use rand::Rng;
use rand_pcg::Pcg32;

use super::durability::Promise;
use super::replication::Leader;
use super::{HardState, Members, Message, NodeId, Raft, RejectReason, State, Term};
use crate::rules::LogEnd;
use crate::trace::TraceEvent;

/// Counts the ticks towards an election.
#[derive(Debug)]
pub(super) struct Timer {
    /// Since the last reason not to campaign: a leader's message, a vote given, a campaign of one's own.
    elapsed: u32,
    /// When to campaign.
    timeout: u32,
    /// Since the leader was heard.
    since_leader: u32,
}

impl Timer {
    pub(super) fn new(election_ticks: u32, rng: &mut Pcg32) -> Self {
        Self { elapsed: 0, timeout: random_timeout(election_ticks, rng), since_leader: 0 }
    }
}

/// Between one and two times `election_ticks`, so that one node usually asks well before the next (§5.2).
fn random_timeout(election_ticks: u32, rng: &mut Pcg32) -> u32 {
    // The upper half of a product: unlike a library's ranges, the same for ever.
    let extra = (u64::from(rng.next_u32()) * u64::from(election_ticks)) >> 32;
    election_ticks + u32::try_from(extra).expect("less than election_ticks")
}

/// Who has said yes.
#[derive(Debug, Default)]
pub(super) struct Votes {
    given: Vec<NodeId>,
    /// The term that they are for.
    term: Term,
    /// Whether the former leader has sent this candidate on its way.
    by_transfer: bool,
}

impl Votes {
    /// Adds a voter; `once` says whether a voter that said so before is added again.
    pub(super) fn add(&mut self, voter: NodeId, once: bool) {
        if !(once && self.given.contains(&voter)) {
            self.given.push(voter);
        }
    }

    /// How many of them have a vote.
    pub(super) fn count(&self, members: &Members) -> usize {
        self.given.iter().filter(|&&voter| members.is_voter(voter)).count()
    }

    fn has(&self, voter: NodeId) -> bool {
        self.given.contains(&voter)
    }
}

impl Raft {
    pub(super) fn tick_election(&mut self) {
        self.timer.elapsed += 1;
        self.timer.since_leader = self.timer.since_leader.saturating_add(1);
        if self.timer.elapsed >= self.timer.timeout {
            if !self.may_campaign() {
                // A former candidate among them waits for a leader like everybody without a vote.
                if !matches!(self.state, State::Follower) {
                    self.become_follower(self.term);
                }
                self.restart_timer();
                return;
            }
            // A candidate that did not win asks whether it could before it tries again: in a cut its term
            // stays.
            if self.config.pre_vote {
                self.pre_campaign();
            } else {
                self.campaign();
            }
        } else if self.timer.elapsed.is_multiple_of(self.config.heartbeat_ticks) {
            self.ask_again();
        }
    }

    pub(super) fn restart_timer(&mut self) {
        self.timer.elapsed = 0;
        self.timer.timeout = random_timeout(self.config.election_ticks, &mut self.rng);
    }

    /// Whether this node has reason to believe that its leader works.
    pub(super) fn hears_leader(&self) -> bool {
        match self.state {
            State::Leader(_) => true,
            // With leases it does not matter which term the leader was of, nor in which life it was heard.
            State::Follower => {
                (self.leader.is_some() || self.config.lease_ms.is_some())
                    && self.timer.since_leader < self.config.election_ticks
            }
            State::PreCandidate(_) | State::Candidate(_) => false,
        }
    }

    /// Whether a `Vote` of a newer term is not even looked at (thesis §4.2.3).
    pub(super) fn ignores_votes(&self) -> bool {
        self.config.check_quorum && self.hears_leader()
    }

    /// Enters the next term and votes for itself.
    pub(super) fn campaign(&mut self) {
        self.campaign_with(Votes::default());
    }

    /// As [`Raft::campaign`], at the former leader's wish.
    pub(super) fn campaign_by_transfer(&mut self) {
        self.campaign_with(Votes { by_transfer: true, ..Votes::default() });
    }

    fn campaign_with(&mut self, votes: Votes) {
        self.enter_term(self.term + 1);
        let votes = Votes { term: self.term, ..votes };
        self.vote = Some(self.id());
        self.save_hard_state();
        self.set_state(State::Candidate(votes));
        self.restart_timer();
        self.promise(self.disk.hard_state_seq(), Promise::Campaign { term: self.term });
    }

    /// Its own vote is durable: count it and ask for the others.
    pub(super) fn ask_for_votes(&mut self) {
        let State::Candidate(_) = self.state else { return };
        self.trace(TraceEvent::Vote { term: self.term, candidate: self.id() });
        for peer in self.other_voters() {
            self.send_vote_request(peer);
        }
        self.count_vote(self.id());
    }

    fn send_vote_request(&mut self, to: NodeId) {
        let LogEnd { term: last_term, index: last_index } = self.log.end();
        let transfer = matches!(&self.state, State::Candidate(votes) if votes.by_transfer);
        self.send(to, Message::Vote { last_index, last_term, transfer });
    }

    /// Repeats the question to those who have not said yes.
    fn ask_again(&mut self) {
        match &self.state {
            State::PreCandidate(votes) => {
                for peer in self.silent(votes) {
                    self.send_pre_vote(peer);
                }
            }
            // Without its own vote the candidate has not asked yet.
            State::Candidate(votes) if votes.has(self.id()) => {
                for peer in self.silent(votes) {
                    self.send_vote_request(peer);
                }
            }
            State::Candidate(_) | State::Follower | State::Leader(_) => {}
        }
    }

    /// The voters that have not said yes.
    fn silent(&self, votes: &Votes) -> Vec<NodeId> {
        let mut silent = self.other_voters();
        silent.retain(|&peer| !votes.has(peer));
        silent
    }

    /// A candidate of this term, with a log that ends at `end`, asks for a vote.
    pub(super) fn on_vote(&mut self, from: NodeId, end: LogEnd) {
        // With a leader in the term the election is over; a late vote would only unsettle the voter.
        let open = self.leader.is_none();
        let granted =
            open && self.rules.may_vote(self.vote, from) && self.rules.is_up_to_date(end, self.log.end());
        if !granted {
            self.send(from, Message::VoteReply { granted: false });
            return;
        }
        if self.vote != Some(from) {
            self.vote = Some(from);
            self.save_hard_state();
        }
        self.restart_timer();
        self.promise(self.disk.hard_state_seq(), Promise::Vote { term: self.term, candidate: from });
    }

    /// The vote for `candidate` is durable: send it.
    pub(super) fn send_vote(&mut self, candidate: NodeId) {
        self.trace(TraceEvent::Vote { term: self.term, candidate });
        self.send(candidate, Message::VoteReply { granted: true });
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        if granted {
            self.count_vote(from);
        }
    }

    fn count_vote(&mut self, voter: NodeId) {
        let once = self.rules.counts_voter_once();
        // A leader, or a candidate that gave up, has no use for late votes.
        let State::Candidate(votes) = &mut self.state else { return };
        votes.add(voter, once);
        let count = votes.count(self.configurations.latest());
        if self.is_quorum(count) {
            self.become_leader();
        }
    }

    fn become_leader(&mut self) {
        let (id, members) = (self.id(), self.members());
        let peers = members.0.keys().copied().filter(|&peer| peer != id);
        let mut leader = Leader::new(peers, self.log.last_index());
        if let State::Candidate(votes) = &self.state {
            for voter in &votes.given {
                if let Some(progress) = leader.progress.get_mut(voter) {
                    progress.heard_at = Some(self.now);
                }
            }
        }
        self.leader = Some(self.id());
        self.set_state(State::Leader(leader));
        self.begin_lease_round();
        if self.rules.appends_noop() {
            self.append_noop();
        }
        self.broadcast();
        self.advance_commit();
    }

    /// Gives up whatever role it had. `term` is its own or a newer one.
    pub(super) fn become_follower(&mut self, term: Term) {
        assert!(term >= self.term, "terms never go back");
        if term > self.term {
            self.enter_term(term);
        } else if !self.rules.keeps_vote_on_step_down() {
            self.vote = None;
            self.save_hard_state();
        }
        self.set_leader(None);
        match self.set_state(State::Follower) {
            State::Leader(leader) => {
                self.restart_timer();
                // A read has no effect, so turning it away is the truth. What was appended may yet be
                // committed by the next leader: its clients get no answer.
                for request in leader.into_reads() {
                    self.refuse(request, RejectReason::NotLeader);
                }
            }
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
    }

    /// A message of this term's leader has arrived. False if it cannot be one.
    pub(super) fn hear_leader(&mut self, from: NodeId) -> bool {
        match self.state {
            State::Leader(_) => {
                self.invariant(false, "a term has one leader");
                return false;
            }
            State::PreCandidate(_) | State::Candidate(_) => self.become_follower(self.term),
            State::Follower => {}
        }
        self.invariant(self.leader.is_none_or(|leader| leader == from), "a term has one leader");
        self.set_leader(Some(from));
        self.restart_timer();
        self.timer.since_leader = 0;
        true
    }

    /// A leader looks back over the last election timeout: is a majority still there (thesis §6.2)?
    pub(super) fn check_quorum(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let active = leader.take_active();
        if self.config.check_quorum && self.rules.leader_checks_quorum() && !self.is_quorum_with_self(&active)
        {
            self.become_follower(self.term);
        }
    }

    fn enter_term(&mut self, term: Term) {
        assert!(term > self.term, "terms only go up");
        self.term = term;
        self.vote = None;
        self.set_leader(None);
        // A transfer belongs to its leader.
        self.incoming = None;
        self.save_hard_state();
        self.trace(TraceEvent::Term { term });
    }

    /// Makes term and vote part of the write of this step: one write, so that a crash cannot part them.
    fn save_hard_state(&mut self) {
        let vote = self.vote.filter(|_| self.rules.persists_vote());
        self.disk.save(HardState { term: self.term, vote });
    }

    pub(super) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            self.reject_unanswered_reads();
            if let Some(leader) = leader {
                self.end_transfer(leader);
            }
        }
    }

    /// Changes the role and returns the former one.
    pub(super) fn set_state(&mut self, state: State) -> State {
        let before = self.role();
        if let State::Candidate(votes) = &self.state
            && !matches!(state, State::Leader(_))
        {
            let (term, votes) = (votes.term, votes.given.len() as u64);
            let voters = self.members().voters().len() as u64;
            self.trace(TraceEvent::CampaignLost { term, votes, voters });
        }
        let former = std::mem::replace(&mut self.state, state);
        if self.role() != before {
            self.trace(TraceEvent::Role { role: self.role(), term: self.term });
        }
        former
    }
}
