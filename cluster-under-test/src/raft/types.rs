//! The words of the protocol as types: what goes into [`Raft::step`](super::Raft::step) and what comes out.
//!
//! Nothing here does anything. The shell (storage, transport, API) and the simulation both speak these
//! types, so the protocol cannot tell which of them it runs in.

use serde::{Deserialize, Serialize};

use crate::trace::TraceEvent;

use super::{Change, Members};

/// A member of the cluster, counted from 1; printed as `n1`, `n2`, ….
pub type NodeId = u64;
/// A term, counted from 1; 0 is "before the first election" (Raft paper, §5.1).
pub type Term = u64;
/// A position in the log, counted from 1; 0 is "before the first entry" (Raft paper, §5.3).
pub type Index = u64;

/// Names a client request for the lifetime of the cluster: which node took it, in which life, as which one.
///
/// The life (`incarnation`) keeps a restarted node from answering a request of its former life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The node that took the request from a client and will answer it.
    pub node: NodeId,
    /// Different at every start of that node.
    pub incarnation: u64,
    /// Counted from 1 within one life.
    pub sequence: u64,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its position.
    pub index: Index,
    /// The term of the leader that created it.
    pub term: Term,
    /// What it asks of the state machine.
    pub payload: Payload,
}

/// What an entry asks of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a new leader's first entry, which lets it commit what came before (§5.4.2, §8).
    Noop,
    /// A client's command, opaque to the protocol.
    Command {
        /// Whom to answer when it is applied.
        request: RequestId,
        /// The encoded command.
        command: Vec<u8>,
    },
    /// Nothing: it is the protocol's own. From the moment it is in a log, that node goes by these members.
    Members {
        /// Whom to answer when it is applied.
        request: RequestId,
        /// All members.
        members: Members,
    },
}

/// The part of a node's state that must be durable before it promises anything (Raft paper, Figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term the node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// A state of the state machine and the log position it stands for (Raft paper, §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that the state includes.
    pub index: Index,
    /// The term of that entry.
    pub term: Term,
    /// The configuration that the log up to there ends with.
    pub members: Members,
    /// The encoded state, opaque to the protocol.
    pub data: Vec<u8>,
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// The latest complete snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries after the snapshot, in order and without gaps.
    pub entries: Vec<Entry>,
}

/// One durable step: all of it is on disk, in this order, before [`Input::Persisted`] names its `seq`.
///
/// The order within a write is: snapshot, truncation, entries, term and vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Counts the writes of one life from 1.
    pub seq: u64,
    /// Store this snapshot; entries up to its index may be dropped from the log once it is durable. When
    /// `reset_log` is set the whole log is dropped (an installed snapshot that the log does not reach).
    pub snapshot: Option<Snapshot>,
    /// Drop the whole log: the snapshot replaces it.
    pub reset_log: bool,
    /// Remove this entry and all after it.
    pub truncate_from: Option<Index>,
    /// Append these entries.
    pub entries: Vec<Entry>,
    /// Store term and vote.
    pub hard_state: Option<HardState>,
}

/// Everything that can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// One tick of time has passed.
    Tick,
    /// A message has arrived.
    Message(Envelope),
    /// A client asks for a command to be replicated.
    Propose {
        /// Whom to answer.
        request: RequestId,
        /// The encoded command.
        command: Vec<u8>,
    },
    /// A client asks for a linearizable read.
    Read {
        /// Whom to answer.
        request: RequestId,
    },
    /// A client asks for another configuration.
    Change {
        /// Whom to answer.
        request: RequestId,
        /// What is to change.
        change: Change,
    },
    /// A client asks this node, the leader, to hand over to another.
    Transfer {
        /// Whom to answer.
        request: RequestId,
        /// Who shall lead.
        to: NodeId,
    },
    /// All writes up to and including `seq` are durable.
    Persisted {
        /// The `seq` of a [`Write`].
        seq: u64,
    },
    /// The shell has encoded the state machine as of `index`, which was applied.
    SnapshotTaken {
        /// The last applied index that the data includes.
        index: Index,
        /// The encoded state.
        data: Vec<u8>,
    },
}

/// Everything a node can ask of its shell. Outputs are carried out in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send now; whatever had to be durable for it already is (unless a planted bug says otherwise).
    Send(Envelope),
    /// Make durable, then report [`Input::Persisted`]. Writes are carried out in order of `seq`.
    Write(Write),
    /// Apply these committed entries, in order. Answer the local clients whose requests are among them.
    Apply(Vec<Entry>),
    /// Replace the state machine by this snapshot.
    Restore(Snapshot),
    /// The state machine has reached the read's index: serve it from the local state now.
    ReadReady {
        /// The request of the [`Input::Read`].
        request: RequestId,
    },
    /// A local request has certainly had no effect and never will.
    Rejected {
        /// The request.
        request: RequestId,
        /// Why, for the client's error message.
        reason: RejectReason,
    },
    /// The node named in an [`Input::Transfer`] leads.
    Transferred {
        /// The request.
        request: RequestId,
    },
    /// These are the members from now on: messages may go to any of them.
    Members(Members),
    /// Only from a planted bug: answer the client as if the command were committed and applied.
    AckEarly {
        /// The request.
        request: RequestId,
    },
    /// Record this event, before anything after it in the outputs is carried out.
    Trace(TraceEvent),
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// The node knows no leader.
    NoLeader,
    /// The node that got the forwarded request is not (or no longer) the leader.
    NotLeader,
    /// The leader has not yet committed an entry of its term (§6.4 of the thesis).
    NotReady,
    /// Too many requests wait already.
    Busy,
    /// The last change of the configuration is not committed yet.
    ChangePending,
    /// The node to be added is a member.
    MemberExists,
    /// The node to be promoted or removed is no member.
    MemberNotFound,
    /// The node to be promoted has a vote.
    NotLearner,
    /// The learner to be promoted has not caught up.
    NotInSync,
    /// Too few voters of the new configuration were heard lately to commit anything.
    TooFewActive,
    /// Leadership can only go to a voter.
    BadTransferee,
    /// The leader is handing over and takes nothing new.
    Transferring,
    /// The target of a transfer did not lead in time; it may yet do so.
    TransferTimedOut,
}

/// What a node believes itself to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether it could win an election (thesis, §9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// A message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who sends it.
    pub from: NodeId,
    /// Who gets it.
    pub to: NodeId,
    /// The sender's term; in a `PreVote` and in a granted `PreVoteReply`, the term that the asker would
    /// campaign in.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

/// What nodes say to each other (Raft paper, Figures 2 and 13; thesis, §6.4 and §9.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me? Changes nothing at the receiver (thesis, §9.6).
    PreVote {
        /// Index of the asker's last entry.
        last_index: Index,
        /// Term of the asker's last entry.
        last_term: Term,
    },
    /// The answer to a `PreVote`.
    PreVoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// RequestVote (Figure 2).
    Vote {
        /// Index of the candidate's last entry.
        last_index: Index,
        /// Term of the candidate's last entry.
        last_term: Term,
        /// The leader itself has sent the candidate on its way (thesis §3.10), so that no loyalty to it counts.
        transfer: bool,
    },
    /// The leader asks the receiver to campaign at once (thesis §3.10).
    TimeoutNow,
    /// The answer to a `Vote`.
    VoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// AppendEntries (Figure 2); without entries, a heartbeat.
    Append {
        /// Index of the entry before `entries`.
        prev_index: Index,
        /// Term of that entry.
        prev_term: Term,
        /// The entries, in order; bounded in number and bytes.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// The leader's read round: its echo confirms leadership for reads of that round (thesis, §6.4).
        round: u64,
    },
    /// The answer to an `Append`.
    AppendReply {
        /// Whether the log now matches the leader's, and how far.
        outcome: AppendOutcome,
        /// Echo of the round.
        round: u64,
    },
    /// InstallSnapshot (Figure 13), one chunk.
    InstallSnapshot {
        /// The last entry that the snapshot includes.
        index: Index,
        /// The term of that entry.
        last_term: Term,
        /// The configuration up to there.
        members: Members,
        /// Where the chunk begins.
        offset: u64,
        /// The chunk.
        data: Vec<u8>,
        /// Whether it is the last one.
        done: bool,
        /// As in `Append`.
        round: u64,
    },
    /// The answer to an `InstallSnapshot`.
    SnapshotReply {
        /// The snapshot's index.
        index: Index,
        /// The offset that the receiver wants next.
        next_offset: u64,
        /// Whether the snapshot is installed and durable.
        installed: bool,
        /// Echo of the round.
        round: u64,
    },
    /// A follower forwards a client's command.
    Propose {
        /// Whom the follower will answer.
        request: RequestId,
        /// The encoded command.
        command: Vec<u8>,
    },
    /// A follower forwards a change of the configuration.
    Change {
        /// Whom the follower will answer.
        request: RequestId,
        /// What is to change.
        change: Change,
    },
    /// A follower asks for a read index (thesis, §6.4).
    ReadIndex {
        /// Whom the follower will answer.
        request: RequestId,
    },
    /// The answer to a `ReadIndex`: serve the read once this index is applied.
    ReadIndexReply {
        /// The request.
        request: RequestId,
        /// The index.
        index: Index,
    },
    /// A forwarded `Propose` or `ReadIndex` was not accepted and had no effect.
    Reject {
        /// The request.
        request: RequestId,
        /// Why.
        reason: RejectReason,
    },
}

/// How an `Append` ended at the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The log matches the leader's up to here, durably.
    Matched {
        /// prev_index plus the number of entries of the `Append`, never more.
        index: Index,
    },
    /// The log has no entry with the previous index and term.
    Conflict {
        /// Term of the follower's entry at that index, if it has one (§5.3, "can be optimized").
        term: Option<Term>,
        /// The first index of that term in the follower's log, or the one after its last entry.
        first_index: Index,
        /// The `prev_index` that did not match: tells an old answer from a new one.
        rejected_index: Index,
    },
}

/// The knobs of one node. Times are in ticks.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The voters that the cluster was founded with. A node that is not among them waits to be added.
    pub voters: Vec<NodeId>,
    /// The disk was lost: the node waits to be added, though perhaps a founder, and campaigns only once it has a log.
    pub joins: bool,
    /// Leaders serve reads for so long after a majority was asked, by their own clock, without asking again (thesis,
    /// §6.4.1). Needs `check_quorum`, and less than the least election timeout; the same in all nodes.
    pub lease_ms: Option<u64>,
    /// Ticks between heartbeats; at least 1.
    pub heartbeat_ticks: u32,
    /// The least election timeout; a timeout is drawn from `election_ticks..2 * election_ticks` (§5.2).
    pub election_ticks: u32,
    /// Ask before campaigning (thesis, §9.6).
    pub pre_vote: bool,
    /// A leader that hears from no quorum for an election timeout steps down, and a follower that hears from
    /// a leader ignores votes for the least election timeout (thesis, §6.2 and §4.2.3).
    pub check_quorum: bool,
    /// Most entries in one `Append`; at least 1.
    pub append_entries_max: usize,
    /// Most unanswered `Append`s with entries to one follower; at least 1.
    pub pipeline_max: usize,
    /// Bytes in one chunk of a snapshot; at least 1.
    pub snapshot_chunk_bytes: usize,
    /// Entries kept in the log behind a snapshot, so that a slow follower needs no snapshot.
    pub entries_kept: u64,
    /// Seeds the election timeouts.
    pub seed: u64,
}
