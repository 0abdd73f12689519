//! What a node tells about itself: one JSON line for each Raft event.
//!
//! The format, version 1. The first line of every life of a node is a `boot`. Each line has `format`, `node`
//! (`"n1"`), `at` (nanoseconds of `CLOCK_MONOTONIC`, read by the raw system call so that no hook in the vDSO
//! can bend it), `event`, and the fields of that event below. Hashes are 16 hexadecimal digits.
//!
//! A line is handed to the kernel with one `write` before anything that follows from it (a message, an answer)
//! leaves the node, so it survives SIGKILL of the node and no observer can see an effect without its cause.
//! It is not synced: a power loss of the nodes' disks must not take it, so it belongs on another disk.
//!
//! ```text
//! {"format":1,"node":"n1","at":7162530141,"event":"vote","term":2,"candidate":"n3"}
//! {"format":1,"node":"n1","at":7162948822,"event":"apply","index":9,"entry_term":2,"digest":"…","state":"…"}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::hash::Hasher;
use crate::raft::{Entry, Index, Member, NodeId, Payload, Role, Suffrage, Term};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// A 64-bit hash, written as 16 hexadecimal digits: JSON numbers lose the upper bits in many readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// The digest of some bytes, such as an encoded state.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Hasher::default().field(bytes).finish())
    }

    /// The digest of an entry: index, term and what it asks for.
    #[must_use]
    pub fn of_entry(entry: &Entry) -> Self {
        let hasher = Hasher::default().number(entry.index).number(entry.term);
        Self(match &entry.payload {
            Payload::Noop => hasher.number(0).finish(),
            Payload::Command { request, command } => hasher
                .number(1)
                .number(request.node)
                .number(request.incarnation)
                .number(request.sequence)
                .field(command)
                .finish(),
            Payload::Members { request, members } => {
                let hasher = hasher
                    .number(2)
                    .number(request.node)
                    .number(request.incarnation)
                    .number(request.sequence);
                let add = |hasher: Hasher, (node, member): (&NodeId, &Member)| {
                    let voter = u64::from(member.suffrage == Suffrage::Voter);
                    hasher.number(*node).number(voter).field(member.address.as_bytes())
                };
                members.0.iter().fold(hasher, add).finish()
            }
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Digest).map_err(serde::de::Error::custom)
    }
}

/// One event of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TraceEvent {
    /// The node has started and read its disk.
    Boot {
        /// The planted bug, if any.
        bug: Option<String>,
        /// Whether PreVote is on.
        pre_vote: bool,
        /// Whether CheckQuorum is on.
        check_quorum: bool,
        /// The term found on disk.
        term: Term,
        /// The vote found on disk.
        #[serde(with = "node_name::optional")]
        vote: Option<NodeId>,
        /// Index of the snapshot found on disk, 0 without one.
        snapshot_index: Index,
        /// Index of the last entry found on disk (the snapshot's, if there is none after it).
        last_index: Index,
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
        #[serde(with = "node_name")]
        candidate: NodeId,
    },
    /// Entries were added to the end of the log in memory.
    Append {
        /// The node's term.
        term: Term,
        /// The term of the entry before the first one (0 at the start of the log).
        prev_term: Term,
        /// Index of the first entry.
        first_index: Index,
        /// Term and digest of each entry.
        entries: Vec<(Term, Digest)>,
    },
    /// Entries were removed from the end of the log.
    Truncate {
        /// The first index removed.
        from_index: Index,
    },
    /// The log is durable up to here.
    Durable {
        /// The last durable index.
        index: Index,
        /// The term of that entry.
        entry_term: Term,
    },
    /// The commit index has moved.
    Commit {
        /// The node's term.
        term: Term,
        /// The new commit index.
        index: Index,
        /// The term of the entry there.
        entry_term: Term,
    },
    /// An entry was applied.
    Apply {
        /// Its index.
        index: Index,
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
        index: Index,
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
        index: Index,
        /// Digest of the whole state after it.
        state: Digest,
    },
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
        #[serde(with = "node_name")]
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
    /// A read is served from the state machine now.
    Read {
        /// The node's term.
        term: Term,
        /// How far the state machine has applied.
        index: Index,
        /// How old the lease was that stands for the majority's word; `null` if the majority was asked.
        lease_age_ms: Option<u64>,
    },
    /// From now on the node goes by this configuration: at boot, and when the log's last one has changed.
    Members {
        /// The entry that holds it; 0 for the one the node was started with.
        index: Index,
        /// Who has a vote.
        #[serde(with = "node_name::list")]
        voters: Vec<NodeId>,
        /// Who gets entries without having a vote.
        #[serde(with = "node_name::list")]
        learners: Vec<NodeId>,
    },
    /// The configuration of this entry is committed.
    MembersCommitted {
        /// The entry.
        index: Index,
    },
    /// A leader begins to send a snapshot to a follower whose entries are gone.
    SnapshotSent {
        /// The last entry it includes.
        index: Index,
        /// To whom.
        #[serde(with = "node_name")]
        to: NodeId,
    },
    /// A leader hands over its leadership.
    Transfer {
        /// Its term.
        term: Term,
        /// To whom.
        #[serde(with = "node_name")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferPhase {
    /// Asked for: nothing new is taken into the log, and the lease is over.
    Asked,
    /// The target has been told to campaign.
    Sent,
    /// The target leads.
    Done,
    /// Given up, or somebody else leads.
    Abandoned,
}

/// Where a snapshot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotOrigin {
    /// From the node's own state machine.
    Taken,
    /// From the leader.
    Installed,
}

/// A line of the trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The version of the format, [`FORMAT`].
    pub format: u32,
    /// Who tells.
    #[serde(with = "node_name")]
    pub node: NodeId,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: TraceEvent,
}

/// Writes the trace of one node.
#[derive(Debug)]
pub struct TraceWriter {
    node: NodeId,
    file: Option<File>,
    lines: Vec<u8>,
}

impl TraceWriter {
    /// Continues the trace in `path`. A last line without its end, left by a full disk or a lost machine, is cut
    /// off: followed by another line it would look like damage.
    pub fn open(path: &Path, node: NodeId) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let end = end_of_last_line(&mut file)?;
        if end < file.metadata()?.len() {
            file.set_len(end)?;
        }
        Ok(Self { node, file: Some(file), lines: Vec::new() })
    }

    /// A trace that nobody wants to read.
    #[must_use]
    pub fn none(node: NodeId) -> Self {
        Self { node, file: None, lines: Vec::new() }
    }

    /// Adds a line, to be written by the next [`TraceWriter::flush`].
    pub fn push(&mut self, event: TraceEvent) {
        if self.file.is_none() {
            return;
        }
        let line = Line { format: FORMAT, node: self.node, at: monotonic_ns(), event };
        serde_json::to_writer(&mut self.lines, &line).expect("a trace line has only string keys");
        self.lines.push(b'\n');
    }

    /// Hands all added lines to the kernel, with one `write` unless the kernel takes fewer bytes.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && !self.lines.is_empty()
        {
            file.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }
}

fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut block_end = file.metadata()?.len();
    while block_end > 0 {
        let block_start = block_end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(block_end - block_start).expect("at most BLOCK bytes")];
        file.seek(SeekFrom::Start(block_start))?;
        file.read_exact(&mut block)?;
        if let Some(position) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(block_start + position as u64 + 1);
        }
        block_end = block_start;
    }
    Ok(0)
}

/// `CLOCK_MONOTONIC` in nanoseconds, by the raw system call: the vDSO's `clock_gettime`, which every library
/// calls, can be hooked to bend a node's clock, and a bent clock must not bend the record.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the whole call, and the kernel writes nothing else.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC exists on every Linux");
    let part = |part: i64| u64::try_from(part).expect("the monotonic clock is not negative");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Nodes are written by name (`"n1"`), as everywhere a person reads.
mod node_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::raft::NodeId;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("n{node}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    fn parse<E: Error>(name: &str) -> Result<NodeId, E> {
        name.strip_prefix('n')
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| E::custom(format_args!("not the name of a node: {name:?}")))
    }

    pub(super) mod list {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            nodes: &[NodeId],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(nodes.iter().map(|node| format!("n{node}")))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<NodeId>, D::Error> {
            Vec::<String>::deserialize(deserializer)?.iter().map(|name| parse(name)).collect()
        }
    }

    pub(super) mod optional {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            node: &Option<NodeId>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match node {
                Some(node) => super::serialize(node, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<NodeId>, D::Error> {
            Option::<String>::deserialize(deserializer)?.map(|name| parse(&name)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(vote: Option<NodeId>) -> TraceEvent {
        TraceEvent::Boot {
            bug: None,
            pre_vote: true,
            check_quorum: true,
            term: 3,
            vote,
            snapshot_index: 0,
            last_index: 7,
            last_term: 2,
            torn_bytes: 0,
        }
    }

    #[test]
    fn nodes_are_written_by_name_and_hashes_in_hexadecimal() {
        let line = Line { format: FORMAT, node: 1, at: 5, event: TraceEvent::Vote { term: 2, candidate: 3 } };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"format":1,"node":"n1","at":5,"event":"vote","term":2,"candidate":"n3"}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        assert_eq!(serde_json::to_string(&Digest(0xab)).unwrap(), r#""00000000000000ab""#);
    }

    #[test]
    fn every_vote_at_boot_is_read_back() {
        for vote in [None, Some(2)] {
            let line = Line { format: FORMAT, node: 1, at: 5, event: boot(vote) };
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_cut_when_the_trace_is_continued() {
        let path = std::env::temp_dir().join(format!("raft-kv-trace-{}.jsonl", std::process::id()));
        std::fs::write(&path, "{\"whole\":1}\n{\"half").unwrap();
        let mut trace = TraceWriter::open(&path, 1).unwrap();
        trace.push(boot(None));
        trace.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.starts_with("{\"whole\":1}\n{\"format\":1,\"node\":\"n1\","), "{text}");
        assert!(text.ends_with("}\n"));
    }
}
