//! What a node tells about itself: one JSON line for each Raft event.
//!
//! The format, version 1. The first line of every life of a node is a `boot`. Each line has `format`, `node`
//! (`"n1"`), `at` (nanoseconds of `CLOCK_MONOTONIC`, read by the raw system call so that no hook in the vDSO
//! can bend it), `event`, and the fields of that event below. Hashes are 16 hexadecimal digits.
//!
//! A line is handed to the kernel with one `write` before anything that follows from it (a message, an answer)
//! leaves the node, so it survives SIGKILL of the node and no observer can see an effect without its cause.

use serde::{Deserialize, Serialize};

use crate::raft::{Index, NodeId, Role, Term};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// A 64-bit hash, written as 16 hexadecimal digits: JSON numbers lose the upper bits in many readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

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
