//! What a client asks of the state machine, and what it answers.
//!
//! Everything is a transaction: a put is one whose only branch has one operation. Numbers are `i64` because
//! they are so in etcd's API.

use serde::{Deserialize, Serialize};

use super::KeyValue;

/// If all compares hold, `success` is done, otherwise `failure`; nothing comes between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done if they do.
    pub success: Vec<Op>,
    /// Done if they do not.
    pub failure: Vec<Op>,
}

/// A statement about the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which keys; it must hold for each of them.
    pub keys: KeyRange,
    /// What is compared, and with what.
    pub target: Target,
    /// How the key's side must relate to the given one.
    pub relation: Relation,
}

/// A field of a key, and the value to compare it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// How often the key was put since it was created.
    Version(i64),
    /// The revision that created it.
    Create(i64),
    /// The revision that changed it last.
    Mod(i64),
    /// Its lease. There are none here, so every key has lease 0.
    Lease(i64),
    /// Its value.
    Value(Vec<u8>),
}

/// How two things relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The key's side equals the given one.
    Equal,
    /// It is greater.
    Greater,
    /// It is less.
    Less,
    /// It is different.
    NotEqual,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// Answer what was there before.
        prev_kv: bool,
    },
    /// Reads keys.
    Range {
        /// Which keys.
        keys: KeyRange,
        /// At most so many of them; 0 for all.
        limit: usize,
        /// Leave the values out.
        keys_only: bool,
        /// Leave out all but the number of keys.
        count_only: bool,
    },
    /// Removes keys.
    DeleteRange {
        /// Which keys.
        keys: KeyRange,
        /// Answer what was there before.
        prev_kv: bool,
    },
}

/// Keys in byte order, as etcd names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub key: Vec<u8>,
    /// Empty: `key` alone. One zero byte: all keys from `key` on. Otherwise: up to this key, without it.
    pub range_end: Vec<u8>,
}

/// A key with what belongs to it.
pub type Pair = (Vec<u8>, KeyValue);

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The revision after it.
    pub revision: i64,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that was done.
    pub results: Vec<OpResult>,
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// Of a put.
    Put {
        /// What was there before, if asked for.
        prev: Option<Pair>,
    },
    /// Of a range.
    Range {
        /// The keys, in order.
        kvs: Vec<Pair>,
        /// How many keys the range holds, whatever the limit.
        count: usize,
        /// Whether the limit left keys out.
        more: bool,
    },
    /// Of a deleterange.
    DeleteRange {
        /// How many keys were removed.
        deleted: usize,
        /// Them, if asked for.
        prev: Vec<Pair>,
    },
}

impl Txn {
    /// A transaction that does one thing whatever holds.
    #[must_use]
    pub fn only(op: Op) -> Self {
        Self { success: vec![op], ..Self::default() }
    }

    /// Whether it can change nothing, so that it needs no place in the log.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range { .. } => true,
            Op::Put { .. } | Op::DeleteRange { .. } => false,
        })
    }

    /// The command of a log entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a transaction encodes into memory")
    }

    /// Reads [`Txn::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

impl KeyRange {
    /// A single key.
    #[must_use]
    pub fn one(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), range_end: Vec::new() }
    }

    /// Whether it names a single key, there or not.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// Whether it holds a key.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self.range_end.as_slice() {
            [] => key == self.key,
            [0] => key >= self.key.as_slice(),
            end => self.key.as_slice() <= key && key < end,
        }
    }
}
