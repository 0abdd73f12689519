//! The Raft protocol as a pure state machine.
//!
//! [`Raft::step`] takes one [`Input`] (a tick, a message, a client's request, news of the disk) and returns
//! the [`Output`]s to be carried out in order. There are no sockets, files, clocks or threads here, and the
//! only chance is a seeded generator of election timeouts: the same inputs give the same outputs, on a real
//! network and in virtual time alike.
//!
//! # The protocol in one page
//!
//! Time is divided into **terms**, each with at most one leader (§5.1, §5.2). A node that hears nothing from
//! a leader for a randomised timeout asks the others for their **votes** in the next term; a majority makes
//! it the leader. A voter votes once a term and only for a log at least as up-to-date as its own (§5.4.1), so
//! whoever wins has every committed entry.
//!
//! The leader appends its clients' commands to its **log** and sends them on; a follower takes entries only
//! where its log meets the leader's (§5.3), so that logs which agree on the last entry agree on everything
//! before it. An entry of the leader's own term that a majority has durably is **committed**, and with it all
//! before it (§5.4.2). Every node applies the committed entries in order, and so all nodes go through the
//! same states.
//!
//! ```text
//!              timeout             a majority would           a majority does
//!   Follower ─────────▶ PreCandidate ──────────▶ Candidate ──────────▶ Leader
//!      ▲                     │                       │                   │
//!      ├─ a newer term ──────┴───────────────────────┤                   │
//!      ├─ a leader of this term ─────────────────────┘                   │
//!      └─ a newer term, or answers from no majority ─────────────────────┘
//!   (with PreVote off, from Follower straight to Candidate)
//! ```
//!
//! | file | part | where it is written |
//! |---|---|---|
//! | `election` | timeouts, votes, terms, CheckQuorum | §5.2, §5.4.1; thesis §4.2.3, §6.2 |
//! | `prevote` | asking before campaigning | thesis §9.6 |
//! | `replication` | entries to followers, conflicts, heartbeats | §5.3 |
//! | `commit` | what is committed and applied | §5.3, §5.4.2 |
//! | `proposal` | clients' commands, also through followers | §8 |
//! | `read` | linearizable reads without the log | §8; thesis §6.4 |
//! | `lease` | the same without a message, at a risk | thesis §6.4.1 |
//! | `membership` | adding, promoting and removing nodes | thesis §4 |
//! | `transfer` | handing over leadership | thesis §3.10 |
//! | `snapshot` | compaction, InstallSnapshot in chunks | §7 |
//! | `durability` | what waits for the disk | Figure 2 |
//! | `log`, `progress` | the log in memory; the leader's view of a follower | §5.3, §7 |
//!
//! Every decision that safety rests on is asked of
//! [`Rules`], where it is named and cited.
//!
//! # What is expected of the shell
//!
//! Outputs in order; writes in order of `seq` and reported when durable; messages may be lost, delayed,
//! reordered and repeated, but a forwarded [`Message::Propose`] is delivered at most once (a TCP connection
//! sees to that): the protocol does not recognise a command that it has seen before.

mod commit;
mod durability;
mod election;
mod lease;
mod log;
mod membership;
mod prevote;
mod progress;
mod proposal;
mod read;
mod replication;
mod snapshot;
mod transfer;
mod types;

use std::fmt;

use rand::SeedableRng;
use rand_pcg::Pcg32;

use self::durability::Disk;
use self::election::{Timer, Votes};
use self::log::Log;
use self::membership::Configurations;
use self::read::ForwardedReads;
use self::replication::Leader;
use self::snapshot::Incoming;
use self::transfer::Transfer;
use crate::hash::Hasher;
use crate::rules::{LogEnd, Rules};
use crate::trace::{Digest, TraceEvent};

pub use self::membership::{Change, Member, Members, Suffrage};
pub use self::types::*;

/// One node's part in the protocol.
pub struct Raft {
    config: Config,
    rules: &'static dyn Rules,
    rng: Pcg32,
    /// Ticks since the start.
    now: u64,
    /// The node's clock, as it was shown last.
    clock_ms: u64,

    term: Term,
    vote: Option<NodeId>,
    state: State,
    /// The leader of this term, once it is known.
    leader: Option<NodeId>,
    timer: Timer,

    log: Log,
    commit: Index,
    /// Handed out to be applied. Outputs are carried out in order, so whatever is output from now on finds it
    /// done.
    applied: Index,
    /// The latest snapshot, for followers that lag behind the log.
    snapshot: Option<Snapshot>,
    incoming: Option<Incoming>,
    configurations: Configurations,
    transfer: Option<Transfer>,
    reads: ForwardedReads,
    disk: Disk,

    /// The outputs of the present step.
    outputs: Vec<Output>,
}

/// A role and what is known only in it.
#[derive(Debug)]
enum State {
    Follower,
    PreCandidate(Votes),
    Candidate(Votes),
    Leader(Leader),
}

impl Raft {
    /// A node that has just started, with what it found on its disk; the outputs come before those of any
    /// input.
    ///
    /// # Panics
    ///
    /// If the configuration cannot work, or what was found does not fit together.
    #[must_use]
    pub fn new(config: Config, rules: &'static dyn Rules, recovered: Recovered) -> (Self, Vec<Output>) {
        check_config(&config);
        let Recovered { hard_state, snapshot, entries } = recovered;
        let base = snapshot
            .as_ref()
            .map_or(LogEnd::default(), |snapshot| LogEnd { term: snapshot.term, index: snapshot.index });
        let log = Log::new(base, &entries);
        assert!(log.end().term <= hard_state.term, "a term is durable before its entries are");
        let founders = || Members::founders(&config.voters);
        let members = snapshot.as_ref().map_or_else(founders, |snapshot| snapshot.members.clone());
        let mut configurations = Configurations::new(base.index, members);
        for entry in &entries {
            if let Payload::Members { members, .. } = &entry.payload {
                configurations.push(entry.index, members.clone());
            }
        }
        // Each node draws from a stream of its own: equal timeouts are split votes.
        let seed = Hasher::default().number(config.seed).number(config.id).finish();
        let mut rng = Pcg32::seed_from_u64(seed);
        let mut raft = Self {
            timer: Timer::new(config.election_ticks, &mut rng),
            rng,
            now: 0,
            clock_ms: 0,
            configurations,
            transfer: None,
            term: hard_state.term,
            vote: hard_state.vote,
            state: State::Follower,
            leader: None,
            commit: base.index,
            applied: base.index,
            disk: Disk::new(log.last_index()),
            log,
            snapshot,
            incoming: None,
            reads: ForwardedReads::default(),
            outputs: Vec::new(),
            config,
            rules,
        };
        if let Some(snapshot) = raft.snapshot.clone() {
            raft.outputs.push(Output::Restore(snapshot));
        }
        raft.members_changed();
        let outputs = raft.finish_step();
        (raft, outputs)
    }

    /// Something has happened. The outputs are to be carried out in order, before the next step.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::Tick => self.on_tick(),
            Input::Message(envelope) => self.on_message(envelope),
            Input::Propose { request, command } => self.on_client_propose(request, command),
            Input::Read { request } => self.on_client_read(request),
            Input::Change { request, change } => self.on_client_change(request, change),
            Input::Transfer { request, to } => self.on_client_transfer(request, to),
            Input::Persisted { seq } => self.on_persisted(seq),
            Input::SnapshotTaken { index, data } => self.on_snapshot_taken(index, data),
        }
        self.finish_step()
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it believes itself to be.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Its current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom it voted for in this term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The leader it knows of in this term, perhaps itself.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Index of its last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// Index of the last entry it knows to be committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        self.commit
    }

    /// Index of the last entry it has handed out to be applied.
    #[must_use]
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// Index of the last entry that the latest snapshot includes, or 0.
    #[must_use]
    pub fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// The entries it has after the part of the log that was compacted.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.log.range(self.log.base().index + 1, self.log.last_index())
    }

    fn on_tick(&mut self) {
        self.now += 1;
        self.expire_forwarded_reads();
        self.expire_transfer();
        match self.state {
            State::Leader(_) => self.tick_leader(),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => self.tick_election(),
        }
    }

    fn on_message(&mut self, envelope: Envelope) {
        let Envelope { from, to, term, message } = envelope;
        // The network may bring anything. Whether the sender is a member is no question here: a node whose log is behind
        // does not know all of them (thesis §4.2.2), and who has a vote is asked where votes and copies are counted.
        if to != self.id() || from == self.id() {
            return;
        }
        match message {
            // These carry a term that nobody has entered yet, so it must not be adopted.
            Message::PreVote { last_index, last_term } => {
                self.on_pre_vote(from, term, LogEnd { term: last_term, index: last_index });
            }
            Message::PreVoteReply { granted: true } => self.on_pre_vote_granted(from, term),
            Message::Vote { transfer: false, .. } if term > self.term && self.ignores_votes() => {}
            message => {
                if term > self.term {
                    self.become_follower(term);
                }
                if term < self.term {
                    self.on_message_of_old_term(from, message);
                } else {
                    self.on_message_of_term(from, message);
                }
            }
        }
    }

    fn on_message_of_term(&mut self, from: NodeId, message: Message) {
        match message {
            Message::PreVote { .. } => unreachable!("a PreVote is answered whatever its term"),
            // A refusal has done its work if it brought a newer term.
            Message::PreVoteReply { .. } => {}
            Message::TimeoutNow => self.on_timeout_now(from),
            Message::Vote { last_index, last_term, transfer: _ } => {
                self.on_vote(from, LogEnd { term: last_term, index: last_index });
            }
            Message::VoteReply { granted } => self.on_vote_reply(from, granted),
            Message::Append { prev_index, prev_term, entries, commit, round } => {
                if self.hear_leader(from) {
                    let prev = LogEnd { term: prev_term, index: prev_index };
                    self.on_append(from, prev, entries, commit, round);
                }
            }
            Message::AppendReply { outcome, round } => self.on_append_reply(from, outcome, round),
            Message::InstallSnapshot { index, last_term, members, offset, data, done, round } => {
                if self.hear_leader(from) {
                    let end = LogEnd { term: last_term, index };
                    self.on_install_snapshot(
                        from,
                        end,
                        snapshot::Chunk { members, offset, data, done },
                        round,
                    );
                }
            }
            Message::SnapshotReply { index, next_offset, installed, round } => {
                self.on_snapshot_reply(from, index, next_offset, installed, round);
            }
            Message::Propose { .. }
            | Message::Change { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::Reject { .. } => self.on_forwarded(from, message),
        }
    }

    /// Stale messages are turned away with the newer term, so that their sender learns of it (§5.1).
    fn on_message_of_old_term(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Append { prev_index, prev_term, entries, commit, round } => {
                if self.rules.rejects_old_leader() || matches!(self.state, State::Leader(_)) {
                    self.reply_conflict(from, prev_index, round);
                } else {
                    let prev = LogEnd { term: prev_term, index: prev_index };
                    self.on_append(from, prev, entries, commit, round);
                }
            }
            Message::InstallSnapshot { index, round, .. } => {
                self.send(from, Message::SnapshotReply { index, next_offset: 0, installed: false, round });
            }
            Message::Vote { .. } => self.send(from, Message::VoteReply { granted: false }),
            Message::VoteReply { granted } => {
                if !self.rules.checks_term_of_votes() {
                    self.on_vote_reply(from, granted);
                }
            }
            // Requests of clients are not bound to the term in which they were sent, nor are the answers.
            Message::Propose { .. }
            | Message::Change { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::Reject { .. } => self.on_forwarded(from, message),
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::TimeoutNow
            | Message::AppendReply { .. }
            | Message::SnapshotReply { .. } => {}
        }
    }

    fn on_forwarded(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Propose { request, command } => self.on_propose(from, request, command),
            Message::Change { request, change } => self.on_change(from, request, &change),
            Message::ReadIndex { request } => self.on_read_index(from, request),
            Message::ReadIndexReply { request, index } => self.on_read_index_reply(request, index),
            Message::Reject { request, reason } => self.on_reject(request, reason),
            other => unreachable!("{other:?} is not forwarded for a client"),
        }
    }

    fn finish_step(&mut self) -> Vec<Output> {
        if let Some(write) = self.disk.issue() {
            self.outputs.push(Output::Write(write));
        }
        self.check_invariants();
        std::mem::take(&mut self.outputs)
    }

    /// What must hold between any two steps, whatever the network did.
    fn check_invariants(&self) {
        let last = self.log.end();
        self.invariant(self.applied <= self.commit, "only committed entries are applied");
        self.invariant(self.commit <= last.index, "only entries in the log are committed");
        self.invariant(self.log.base().index <= self.applied, "only applied entries are compacted");
        self.invariant(last.term <= self.term, "no entry is newer than the node's term");
        self.invariant(self.disk.durable() <= last.index, "only entries in the log are durable");
        let leads = matches!(self.state, State::Leader(_));
        self.invariant(leads == (self.leader == Some(self.id())), "a leader knows itself as the leader");
    }

    /// Ends the node on a defect of this code, unless a planted bug is to show what such a defect does.
    fn invariant(&self, holds: bool, rule: &str) {
        assert!(holds || !self.rules.enforces_invariants(), "{rule}: broken by {self:?}");
    }

    /// The nodes that a leader sends to.
    fn followers(&self) -> Vec<NodeId> {
        let State::Leader(leader) = &self.state else { return Vec::new() };
        leader.progress.keys().copied().collect()
    }

    fn is_quorum(&self, nodes: usize) -> bool {
        self.rules.is_quorum(nodes, self.members().voters().len())
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push(Output::Send(self.envelope(to, message)));
    }

    fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        Envelope { from: self.id(), to, term: self.term, message }
    }

    fn trace(&mut self, event: TraceEvent) {
        self.outputs.push(Output::Trace(event));
    }

    /// Adds entries to the end of the log, in memory and with the write of this step.
    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.trace(TraceEvent::Append {
            term: self.term,
            prev_term: self.log.end().term,
            first_index: first.index,
            entries: entries.iter().map(|entry| (entry.term, Digest::of_entry(entry))).collect(),
        });
        self.log.append(entries);
        self.disk.append(entries);
        for entry in entries {
            if let Payload::Members { members, .. } = &entry.payload {
                self.adopt_members(entry.index, members.clone());
            }
        }
    }
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { term, commit, applied, .. } = self;
        let (id, role, last, durable) = (self.id(), self.role(), self.last_index(), self.disk.durable());
        write!(f, "n{id}@{term} {role:?} last={last} durable={durable} commit={commit} applied={applied}")
    }
}

fn check_config(config: &Config) {
    assert!(config.lease_ms.is_none() || config.check_quorum, "leases rest on the stickiness of CheckQuorum");
    assert!(config.heartbeat_ticks >= 1, "heartbeats are at least a tick apart");
    assert!(
        config.election_ticks > config.heartbeat_ticks,
        "an election timeout is longer than the time between heartbeats (§5.6)"
    );
    assert!(config.append_entries_max >= 1 && config.pipeline_max >= 1, "a message holds an entry");
    assert!(config.snapshot_chunk_bytes >= 1, "a chunk holds a byte");
}
