//! The history of a run: what logical clients asked and were told, and what was done to the cluster meanwhile.

mod edn;
mod elements;
mod export;
mod import;
mod jepsen;
mod operation;
mod porcupine;
mod rows;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use elements::elements;
pub use import::Format;
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

/// What a client asks. Keys are independent objects; which kind of object is the workload's choice, see
/// [`crate::model::Object`]. The names are Jepsen's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "kebab-case")]
pub enum Op {
    /// Read the whole object.
    Read {
        /// Which object.
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
    /// Remove the key: the register is as if it had never been written.
    Delete {
        /// Which register.
        key: String,
    },
    /// Add to the end of the list.
    Append {
        /// Which list.
        key: String,
        /// The new last element.
        value: Value,
    },
    /// Add an element to the set, or an amount to the counter.
    Add {
        /// Which set or counter.
        key: String,
        /// The element or the amount.
        value: Value,
    },
    /// Put at the end of the queue.
    Enqueue {
        /// Which queue.
        key: String,
        /// The new last element.
        value: Value,
    },
    /// Take from the front of the queue.
    Dequeue {
        /// Which queue.
        key: String,
    },
    /// Take the lock. The owner is the process. One that is not to be had is a `fail`.
    Acquire {
        /// Which lock.
        key: String,
    },
    /// Give the lock back.
    Release {
        /// Which lock.
        key: String,
    },
    /// Do all of this in one step: a transaction over lists.
    Txn {
        /// What, in this order; what the reads saw is in the reply.
        ops: Vec<MicroOp>,
    },
}

impl Op {
    /// The object that it touches; `None` for a transaction, which may touch several.
    pub fn key(&self) -> Option<&str> {
        match self {
            Op::Read { key }
            | Op::Write { key, .. }
            | Op::Cas { key, .. }
            | Op::Delete { key }
            | Op::Append { key, .. }
            | Op::Add { key, .. }
            | Op::Enqueue { key, .. }
            | Op::Dequeue { key }
            | Op::Acquire { key }
            | Op::Release { key } => Some(key),
            Op::Txn { .. } => None,
        }
    }

    /// What it does, without its arguments.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Read { .. } => OpKind::Read,
            Op::Write { .. } => OpKind::Write,
            Op::Cas { .. } => OpKind::Cas,
            Op::Delete { .. } => OpKind::Delete,
            Op::Append { .. } => OpKind::Append,
            Op::Add { .. } => OpKind::Add,
            Op::Enqueue { .. } => OpKind::Enqueue,
            Op::Dequeue { .. } => OpKind::Dequeue,
            Op::Acquire { .. } => OpKind::Acquire,
            Op::Release { .. } => OpKind::Release,
            Op::Txn { .. } => OpKind::Txn,
        }
    }
}

/// Without the key, which a reader of one object's operations knows: `cas 1 2`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match self {
            Op::Write { value, .. }
            | Op::Append { value, .. }
            | Op::Add { value, .. }
            | Op::Enqueue { value, .. } => write!(f, " {value}"),
            Op::Cas { from, to, .. } => write!(f, " {from} {to}"),
            Op::Txn { ops } => ops.iter().enumerate().try_for_each(|(i, op)| {
                let separator = if i == 0 { " " } else { ", " };
                write!(f, "{separator}{op}")
            }),
            Op::Read { .. }
            | Op::Delete { .. }
            | Op::Dequeue { .. }
            | Op::Acquire { .. }
            | Op::Release { .. } => Ok(()),
        }
    }
}

/// One step of a transaction, written as in Jepsen: `["append","x",1]`, `["r","x",null]` when it is asked and
/// `["r","x",[1,2]]` when it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "RawMicroOp", try_from = "RawMicroOp")]
pub enum MicroOp {
    /// Add to the end of a list.
    Append {
        /// Which list.
        key: String,
        /// The new last element.
        value: Value,
    },
    /// Read a list.
    Read {
        /// Which list.
        key: String,
        /// What it held; `None` in the request.
        values: Option<Vec<Value>>,
    },
}

impl MicroOp {
    /// The list that it touches.
    pub fn key(&self) -> &str {
        match self {
            MicroOp::Append { key, .. } | MicroOp::Read { key, .. } => key,
        }
    }
}

impl fmt::Display for MicroOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MicroOp::Append { key, value } => write!(f, "append {key} {value}"),
            MicroOp::Read { key, values: None } => write!(f, "r {key}"),
            MicroOp::Read { key, values: Some(values) } => write!(f, "r {key} {}", elements(values)),
        }
    }
}

/// The function, the key, and the argument or the value read.
type RawMicroOp = (String, String, Option<Argument>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a list of whole numbers")]
enum Argument {
    One(Value),
    Many(Vec<Value>),
}

impl From<MicroOp> for RawMicroOp {
    fn from(op: MicroOp) -> RawMicroOp {
        match op {
            MicroOp::Append { key, value } => ("append".to_owned(), key, Some(Argument::One(value))),
            MicroOp::Read { key, values } => ("r".to_owned(), key, values.map(Argument::Many)),
        }
    }
}

impl TryFrom<RawMicroOp> for MicroOp {
    type Error = String;

    fn try_from((function, key, argument): RawMicroOp) -> Result<MicroOp, String> {
        match (function.as_str(), argument) {
            ("append", Some(Argument::One(value))) => Ok(MicroOp::Append { key, value }),
            ("r", None) => Ok(MicroOp::Read { key, values: None }),
            ("r", Some(Argument::Many(values))) => Ok(MicroOp::Read { key, values: Some(values) }),
            ("append", _) => Err("an append in a transaction needs one value".to_owned()),
            ("r", Some(Argument::One(_))) => {
                Err("a read in a transaction sees null or a list of values".to_owned())
            }
            (unknown, _) => {
                Err(format!("`{unknown}` is not an operation of a transaction; there are append and r"))
            }
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
    /// [`Op::Delete`].
    Delete,
    /// [`Op::Append`].
    Append,
    /// [`Op::Add`].
    Add,
    /// [`Op::Enqueue`].
    Enqueue,
    /// [`Op::Dequeue`].
    Dequeue,
    /// [`Op::Acquire`].
    Acquire,
    /// [`Op::Release`].
    Release,
    /// [`Op::Txn`].
    Txn,
}

impl OpKind {
    /// Its name in the field `f`.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Cas => "cas",
            OpKind::Delete => "delete",
            OpKind::Append => "append",
            OpKind::Add => "add",
            OpKind::Enqueue => "enqueue",
            OpKind::Dequeue => "dequeue",
            OpKind::Acquire => "acquire",
            OpKind::Release => "release",
            OpKind::Txn => "txn",
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a client was told, in a completion of type `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The value read of a register or a counter; `null` if the key does not exist.
    Read {
        /// The value.
        value: Option<Value>,
    },
    /// The elements read of a list, in order, or of a set, in any order.
    ReadList {
        /// The elements; none if the key does not exist.
        values: Vec<Value>,
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
    /// The compare-and-set found another value than it expected and had no effect; which one was not told.
    Mismatch,
    /// The key is gone.
    Delete,
    /// The element is in the list.
    Append,
    /// The element is in the set, or the amount in the counter.
    Add,
    /// The element is in the queue.
    Enqueue,
    /// The element taken; `null` if the queue was empty.
    Dequeue {
        /// The element.
        value: Option<Value>,
    },
    /// The process has the lock.
    Acquire,
    /// The process has it no more.
    Release,
    /// The transaction took effect.
    Txn {
        /// The request, with what its reads saw.
        ops: Vec<MicroOp>,
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
