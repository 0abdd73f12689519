//! The trace of a node: what it tells about its own part in Raft, one JSON line an event.
//!
//! `HISTORY.md` is the specification. Fields that are not known here are ignored, so that a node may tell
//! more; an event that is not known is an error, because a checker that overlooks it may be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event_ref::EventRef;
use crate::history::NodeId;
use crate::json::{self, Line, Malformed, Warning};

/// The version of the trace format.
pub const FORMAT: u32 = 1;

/// A term of Raft's logical clock, counted from 1; 0 is "before the first election".
pub type Term = u64;

/// A position in the replicated log, counted from 1; 0 is "before the first entry".
pub type LogIndex = u64;

/// Terms and indexes are below this; beyond, JSON numbers are not exact in many readers. No cluster gets there.
const NUMBER_LIMIT: u64 = 1 << 53;

/// A 64-bit hash, written as 16 hexadecimal digits: JSON numbers lose the upper bits in many readers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 16 {
            return Err(serde::de::Error::custom(format!("`{text}` is not 16 hexadecimal digits")));
        }
        u64::from_str_radix(&text, 16).map(Digest).map_err(serde::de::Error::custom)
    }
}

/// What a node believes itself to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// Where a snapshot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotOrigin {
    /// From the node's own state machine.
    Taken,
    /// From the leader.
    Installed,
}

/// One event of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A life begins: the node has started and read its disk.
    Boot {
        /// The term found on disk.
        term: Term,
        /// The vote found on disk.
        vote: Option<NodeId>,
        /// Index of the snapshot found on disk, 0 without one.
        snapshot_index: LogIndex,
        /// Index of the last entry found on disk (the snapshot's, if there is none after it).
        last_index: LogIndex,
        /// Term of that entry.
        last_term: Term,
        /// Bytes of a torn tail that were cut off the write-ahead log.
        torn_bytes: u64,
    },
    /// The node has entered a term.
    Term {
        /// The term.
        term: Term,
    },
    /// The node has changed its role.
    Role {
        /// The new role.
        role: Role,
        /// In this term.
        term: Term,
    },
    /// The node's vote is durable and about to be sent (or counted, for itself).
    Vote {
        /// In this term.
        term: Term,
        /// For this node.
        candidate: NodeId,
    },
    /// Entries were added to the end of the log in memory.
    Append {
        /// The node's term.
        term: Term,
        /// The term of the entry before the first one (0 at the start of the log).
        prev_term: Term,
        /// Index of the first entry.
        first_index: LogIndex,
        /// Term and digest of each entry.
        entries: Vec<(Term, Digest)>,
    },
    /// Entries were removed from the end of the log.
    Truncate {
        /// The first index removed.
        from_index: LogIndex,
    },
    /// The log is durable up to here.
    Durable {
        /// The last durable index.
        index: LogIndex,
        /// The term of that entry.
        entry_term: Term,
    },
    /// The commit index has moved.
    Commit {
        /// The node's term.
        term: Term,
        /// The new commit index.
        index: LogIndex,
        /// The term of the entry there.
        entry_term: Term,
    },
    /// An entry was applied.
    Apply {
        /// Its index.
        index: LogIndex,
        /// Its term.
        entry_term: Term,
        /// Digest of the entry.
        digest: Digest,
        /// Digest of the whole state after it.
        state: Digest,
    },
    /// A snapshot is durable.
    Snapshot {
        /// The last entry it includes.
        index: LogIndex,
        /// The term of that entry.
        entry_term: Term,
        /// Whether it was taken here or installed by a leader.
        origin: SnapshotOrigin,
        /// Digest of the encoded state.
        data: Digest,
    },
    /// The state machine was replaced by a snapshot (at boot, or when one was installed).
    Restore {
        /// The last entry it includes.
        index: LogIndex,
        /// Digest of the whole state after it.
        state: Digest,
    },
    /// From now on the node goes by this configuration.
    Members {
        /// The entry that holds it, or the snapshot's last one; 0 for what the node was started with.
        index: LogIndex,
        /// Who has a vote.
        voters: Vec<NodeId>,
        /// Who gets entries without having a vote.
        learners: Vec<NodeId>,
    },
    /// What moves neither term, vote, log nor state.
    Aside(Aside),
}

/// An event that changes nothing that the rules of Raft are about, and tells how the node got where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The node asks whether it could win an election.
    PreVote {
        /// The term that it would campaign in.
        term: Term,
    },
    /// The node answers such a question.
    PreVoteAnswer {
        /// The term that the asker would campaign in.
        term: Term,
        /// Who asks.
        candidate: NodeId,
        /// Yes, or why not.
        answer: PreVoteAnswer,
    },
    /// A candidate gives up without a majority.
    CampaignLost {
        /// The term of the campaign.
        term: Term,
        /// The votes that it got, its own included.
        votes: u64,
        /// How many voters there were.
        voters: u64,
    },
    /// A read is served from the state machine.
    Read {
        /// The node's term.
        term: Term,
        /// How far the state machine has applied.
        index: LogIndex,
        /// How old the lease was that stands for the majority's word, if it was one.
        lease_age_ms: Option<u64>,
    },
    /// The configuration of this entry is committed.
    MembersCommitted {
        /// The entry.
        index: LogIndex,
    },
    /// A leader begins to send a snapshot.
    SnapshotSent {
        /// The last entry it includes.
        index: LogIndex,
        /// To whom.
        to: NodeId,
    },
    /// A leader hands over its leadership.
    Transfer {
        /// Its term.
        term: Term,
        /// To whom.
        to: NodeId,
        /// How far it has come.
        phase: TransferPhase,
    },
    /// The node dies here because it was told to.
    Failpoint {
        /// The failpoint's name.
        name: String,
    },
}

/// The answer to the question whether an election could be won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreVoteAnswer {
    /// Yes.
    Granted,
    /// No: the node hears from a leader.
    LeaderAlive,
    /// No: the asker's log is behind.
    LogBehind,
    /// No: the term has passed.
    TermPassed,
}

/// How far a transfer of leadership has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferPhase {
    /// Asked for.
    Asked,
    /// The target has been told to campaign.
    Sent,
    /// The target leads.
    Done,
    /// Given up, or somebody else leads.
    Abandoned,
}

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Nanoseconds of `CLOCK_MONOTONIC`; less [`Header::origin_ns`](crate::history::Header::origin_ns), it is
    /// a time of the history.
    pub at_ns: u64,
    /// The event.
    pub event: TraceEvent,
}

/// The trace of one node over all its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    name: String,
    node: NodeId,
    lines: Vec<TraceLine>,
}

impl Trace {
    /// A trace held in memory. `name` is the file's name relative to the run directory, for findings.
    pub fn new(name: &str, node: NodeId, lines: Vec<TraceLine>) -> Trace {
        Trace { name: name.to_owned(), node, lines }
    }

    /// Reads the trace of `node`. `name` is the file's name relative to the run directory.
    pub fn parse(text: &str, name: &str, node: NodeId) -> Result<(Trace, Vec<Warning>), Malformed> {
        let (lines, warnings) = json::lines(text, name)?;
        let lines = lines.iter().map(|line| read_line(line, node)).collect::<Result<_, _>>()?;
        Ok((Trace::new(name, node, lines), warnings))
    }

    /// Whose trace it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// All lines, in the order of writing.
    pub fn lines(&self) -> &[TraceLine] {
        &self.lines
    }

    /// The events with where a reader finds them.
    pub fn events(&self) -> impl Iterator<Item = (Place<'_>, &TraceEvent)> {
        self.lines.iter().enumerate().map(|(index, line)| (Place { trace: self, index }, &line.event))
    }
}

/// A line of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    trace: &'a Trace,
    index: usize,
}

impl Place<'_> {
    /// Whose line it is.
    pub fn node(&self) -> NodeId {
        self.trace.node
    }

    /// When it was written, on the clock of the trace.
    pub fn at_ns(&self) -> u64 {
        self.trace.lines[self.index].at_ns
    }

    /// Where a reader finds it.
    pub fn locate(&self) -> EventRef {
        EventRef { file: self.trace.name.clone(), line: self.index + 1 }
    }
}

fn read_line(line: &Line<'_>, node: NodeId) -> Result<TraceLine, Malformed> {
    line.expect_format(FORMAT)?;
    let writer: NodeId = line.field("node")?;
    if writer != node {
        return Err(line.malformed("node", format!("{writer} has written into the trace of {node}")));
    }
    Ok(TraceLine { at_ns: line.field("at")?, event: read_event(line)? })
}

fn read_event(line: &Line<'_>) -> Result<TraceEvent, Malformed> {
    let event: String = line.field("event")?;
    Ok(match event.as_str() {
        "boot" => TraceEvent::Boot {
            term: number(line, "term")?,
            vote: line.optional("vote")?,
            snapshot_index: number(line, "snapshot_index")?,
            last_index: number(line, "last_index")?,
            last_term: number(line, "last_term")?,
            torn_bytes: line.optional("torn_bytes")?.unwrap_or(0),
        },
        "term" => TraceEvent::Term { term: number(line, "term")? },
        "role" => TraceEvent::Role { role: line.field("role")?, term: number(line, "term")? },
        "vote" => TraceEvent::Vote { term: number(line, "term")?, candidate: line.field("candidate")? },
        "append" => TraceEvent::Append {
            term: number(line, "term")?,
            prev_term: number(line, "prev_term")?,
            first_index: first_index(line)?,
            entries: entries(line)?,
        },
        "truncate" => TraceEvent::Truncate { from_index: number(line, "from_index")? },
        "durable" => {
            TraceEvent::Durable { index: number(line, "index")?, entry_term: number(line, "entry_term")? }
        }
        "commit" => TraceEvent::Commit {
            term: number(line, "term")?,
            index: number(line, "index")?,
            entry_term: number(line, "entry_term")?,
        },
        "apply" => TraceEvent::Apply {
            index: number(line, "index")?,
            entry_term: number(line, "entry_term")?,
            digest: line.field("digest")?,
            state: line.field("state")?,
        },
        "snapshot" => TraceEvent::Snapshot {
            index: number(line, "index")?,
            entry_term: number(line, "entry_term")?,
            origin: line.field("origin")?,
            data: line.field("data")?,
        },
        "restore" => TraceEvent::Restore { index: number(line, "index")?, state: line.field("state")? },
        "members" => TraceEvent::Members {
            index: number(line, "index")?,
            voters: line.field("voters")?,
            learners: line.field("learners")?,
        },
        event => match read_aside(line, event)? {
            Some(aside) => TraceEvent::Aside(aside),
            None => {
                let problem = format!("`{event}` is not an event of format {FORMAT}");
                return Err(line.malformed("event", problem));
            }
        },
    })
}

fn read_aside(line: &Line<'_>, event: &str) -> Result<Option<Aside>, Malformed> {
    Ok(Some(match event {
        "pre_vote" => Aside::PreVote { term: number(line, "term")? },
        "pre_vote_answer" => Aside::PreVoteAnswer {
            term: number(line, "term")?,
            candidate: line.field("candidate")?,
            answer: line.field("answer")?,
        },
        "campaign_lost" => Aside::CampaignLost {
            term: number(line, "term")?,
            votes: line.field("votes")?,
            voters: line.field("voters")?,
        },
        "read" => Aside::Read {
            term: number(line, "term")?,
            index: number(line, "index")?,
            lease_age_ms: line.optional::<Option<u64>>("lease_age_ms")?.flatten(),
        },
        "members_committed" => Aside::MembersCommitted { index: number(line, "index")? },
        "snapshot_sent" => Aside::SnapshotSent { index: number(line, "index")?, to: line.field("to")? },
        "transfer" => Aside::Transfer {
            term: number(line, "term")?,
            to: line.field("to")?,
            phase: line.field("phase")?,
        },
        "failpoint" => Aside::Failpoint { name: line.field("name")? },
        _ => return Ok(None),
    }))
}

/// A term or an index.
fn number(line: &Line<'_>, name: &str) -> Result<u64, Malformed> {
    let number = line.field(name)?;
    if number < NUMBER_LIMIT {
        Ok(number)
    } else {
        Err(line.malformed(name, format!("{number} is too large")))
    }
}

/// Entries are counted from 1.
fn first_index(line: &Line<'_>) -> Result<LogIndex, Malformed> {
    match number(line, "first_index")? {
        0 => Err(line.malformed("first_index", "no entry has index 0")),
        index => Ok(index),
    }
}

fn entries(line: &Line<'_>) -> Result<Vec<(Term, Digest)>, Malformed> {
    let entries: Vec<(Term, Digest)> = line.field("entries")?;
    match entries.iter().find(|(term, _)| *term >= NUMBER_LIMIT) {
        Some((term, _)) => Err(line.malformed("entries", format!("term {term} is too large"))),
        None => Ok(entries),
    }
}
