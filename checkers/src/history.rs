//! The history of a run: what logical clients asked and were told, and what was done to the cluster meanwhile.

mod operation;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use operation::{EventIndex, History, Operation};
pub use text::{Header, write_line};

/// The version of the history format.
pub const FORMAT: u32 = 1;

/// Nanoseconds since the origin of the run, from one clock that no fault touches.
pub type Time = u64;

/// A logical single-threaded client; retired after an `info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// One OS process of the cluster; printed as `n1`, `n2`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("n{}", self.0))
    }
}

impl std::str::FromStr for NodeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('n')
            .and_then(|digits| digits.parse().ok())
            .filter(|&number| number > 0)
            .map(NodeId)
            .ok_or_else(|| format!("`{text}` is not a node; nodes are named n1, n2, …"))
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A value of a register. Workloads write each value at most once a key, which makes histories easy to judge.
pub type Value = u64;

/// What a client asks. Keys are independent objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "kebab-case")]
pub enum Op {
    /// Read the register.
    Read {
        /// Which register.
        key: String,
    },
    /// Overwrite the register.
    Write {
        /// Which register.
        key: String,
        /// The new value.
        value: Value,
    },
    /// Set the register to `to` if it holds `from`.
    Cas {
        /// Which register.
        key: String,
        /// The value expected.
        from: Value,
        /// The new value.
        to: Value,
    },
}

impl Op {
    /// The object that it touches.
    pub fn key(&self) -> &str {
        match self {
            Op::Read { key } | Op::Write { key, .. } | Op::Cas { key, .. } => key,
        }
    }

    /// What it does, without its arguments.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Read { .. } => OpKind::Read,
            Op::Write { .. } => OpKind::Write,
            Op::Cas { .. } => OpKind::Cas,
        }
    }
}

/// A kind of operation, as named in the field `f` of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// [`Op::Read`].
    Read,
    /// [`Op::Write`].
    Write,
    /// [`Op::Cas`].
    Cas,
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Cas => "cas",
        })
    }
}

/// What a client was told, in a completion of type `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The value read; `null` if the key does not exist.
    Read {
        /// The value.
        value: Option<Value>,
    },
    /// The write took effect.
    Write,
    /// The compare-and-set took effect.
    Swapped,
    /// The compare-and-set found another value and had no effect.
    NotSwapped {
        /// The value that it found, as part of the same atomic step.
        seen: Option<Value>,
    },
}

/// How an operation ended, as far as the client can know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Completion {
    /// It happened.
    Ok(Reply),
    /// It surely did not happen, now or later.
    Fail {
        /// Why.
        reason: String,
    },
    /// Unknown: it may have happened, may yet happen, or never.
    Info {
        /// Why it is unknown.
        reason: String,
    },
}

/// One event of a history. Events are ordered as they were recorded; times never decrease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is about to be sent.
    Invoke {
        /// Stamped before the request was sent.
        time: Time,
        /// Who asks.
        process: ProcessId,
        /// Which node is asked.
        node: Option<NodeId>,
        /// What.
        op: Op,
    },
    /// A request was answered, or given up.
    Complete {
        /// Stamped after the reply was received.
        time: Time,
        /// Who asked.
        process: ProcessId,
        /// How it ended.
        completion: Completion,
    },
    /// The nemesis did something.
    Fault {
        /// Stamped when it was done and its evidence taken.
        time: Time,
        /// Which fault, by its name in `harness list faults`.
        fault: String,
        /// Injected or healed.
        phase: FaultPhase,
        /// Nodes hurt.
        nodes: Vec<NodeId>,
        /// What it did, with evidence.
        receipt: Receipt,
    },
    /// A node died without having been killed.
    Death {
        /// When it was noticed.
        time: Time,
        /// Which node.
        node: NodeId,
        /// The exit status in words: `signal 6 (SIGABRT)`, `exit status 101`.
        status: String,
        /// Whether the node itself is to blame: a panic or a crash. Otherwise (the disk is full, the machine is
        /// out of memory) the run counts neither way.
        crash: bool,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// A phase of the run begins.
    Phase {
        /// When.
        time: Time,
        /// Which.
        phase: Phase,
    },
}

/// The phases of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Clients and nemesis work at the same time.
    Drive,
    /// Every fault has been healed; clients go on; the cluster must serve again on every node.
    Recovery,
    /// Every key is read through every node.
    FinalReads,
    /// The run has ended as planned. A history without it was cut short.
    End,
}

/// What the nemesis did to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPhase {
    /// Began it.
    Inject,
    /// Ended it.
    Heal,
}

/// What a fault did, and how we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whether it happened.
    pub outcome: Outcome,
    /// What was seen, from sources other than the code that injected the fault.
    pub evidence: Vec<Evidence>,
}

/// Whether a fault happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Evidence shows that it did.
    Installed,
    /// It was not tried, for the reason in the evidence (no such target, node already down, …).
    Skipped,
    /// It was tried, and the evidence does not show that it happened.
    Indeterminate,
}

/// One thing seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was seen: `/proc/1234/stat`, `switch counters n1→n2`, `waitid`.
    pub source: String,
    /// On which node, if on one.
    pub node: Option<NodeId>,
    /// What was seen.
    pub seen: String,
}
