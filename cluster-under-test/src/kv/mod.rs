//! The state machine: keys and values, counted as etcd counts them.
//!
//! The rule: the state after an entry depends on the entries up to it and on nothing else, no clock, no random
//! number, no order of a hash map. So that a breach is seen at once and not at the next failover, the state has a
//! digest that costs as much as the change did.
//!
//! A *revision* counts the transactions that changed something, from 1 for the empty store. All changes of a
//! transaction share one. Each key knows the revision that created it, the one that changed it last, and its
//! *version*: how often it was put since. Old revisions are not kept.

mod command;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::hash::Hasher;
use crate::trace::Digest;

pub use command::{Compare, KeyRange, Op, OpResult, Outcome, Pair, Relation, Target, Txn};

/// The version of the encoded state.
const FORMAT: u8 = 1;

/// What belongs to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that created it.
    pub create_revision: i64,
    /// The revision that changed it last.
    pub mod_revision: i64,
    /// How often it was put since it was created.
    pub version: i64,
    /// Always 0, unless a planted bug makes the state depend on the node that holds it. Clients never see it; it
    /// stands for all the hidden parts of a real store that a read does not show (leases, indexes, counters).
    pub salt: u64,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    revision: i64,
    keys: BTreeMap<Vec<u8>, KeyValue>,
    /// The wrapping sum of the hashes of all keys: a change subtracts the old hash and adds the new one.
    sum: u64,
}

impl Default for Kv {
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new(), sum: 0 }
    }
}

/// Bytes that are not an encoded state.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They are too short or not well-formed.
    #[error("unreadable state: {0}")]
    Unreadable(#[from] postcard::Error),
    /// They were encoded by another version of this program.
    #[error("state of format version {0}, this program reads version {FORMAT}")]
    Version(u8),
}

impl Kv {
    /// The number of the last transaction that changed something, from 1 for the empty store.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.keys.iter().map(|(key, entry)| key.len() + entry.value.len()).sum()
    }

    /// Does a transaction. `salt` is hidden in each key that is put.
    pub fn apply(&mut self, txn: &Txn, salt: u64) -> Outcome {
        let succeeded = self.holds(&txn.compares);
        let revision = self.revision + 1;
        let mut changed = false;
        let branch = if succeeded { &txn.success } else { &txn.failure };
        let results = branch
            .iter()
            .map(|op| match op {
                Op::Put { key, value, prev_kv } => {
                    changed = true;
                    let prev = self.put(key, value, revision, salt);
                    OpResult::Put { prev: prev.filter(|_| *prev_kv).map(|prev| (key.clone(), prev)) }
                }
                Op::Range { .. } => self.range(op),
                Op::DeleteRange { keys, prev_kv } => {
                    let removed = self.remove(keys);
                    changed |= !removed.is_empty();
                    let deleted = removed.len();
                    OpResult::DeleteRange { deleted, prev: if *prev_kv { removed } else { Vec::new() } }
                }
            })
            .collect();
        if changed {
            self.revision = revision;
        }
        Outcome { revision: self.revision, succeeded, results }
    }

    /// Does a transaction that is read-only.
    #[must_use]
    pub fn read(&self, txn: &Txn) -> Outcome {
        assert!(txn.is_read_only(), "a transaction that may write must go through the log");
        let succeeded = self.holds(&txn.compares);
        let branch = if succeeded { &txn.success } else { &txn.failure };
        let results = branch.iter().map(|op| self.range(op)).collect();
        Outcome { revision: self.revision, succeeded, results }
    }

    /// The digest of the whole state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Hasher::default().number(self.revision.cast_unsigned()).number(self.sum).finish())
    }

    /// The state as bytes, for a snapshot. Equal states give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(&(FORMAT, self.revision, &self.keys)).expect("a state encodes into memory")
    }

    /// Reads [`Kv::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (format, rest) = postcard::take_from_bytes::<u8>(bytes)?;
        if format != FORMAT {
            return Err(DecodeError::Version(format));
        }
        let (revision, keys) = postcard::from_bytes::<(i64, BTreeMap<Vec<u8>, KeyValue>)>(rest)?;
        let sum = keys.iter().fold(0, |sum, (key, entry)| hash(key, entry).wrapping_add(sum));
        Ok(Self { revision, keys, sum })
    }

    fn put(&mut self, key: &[u8], value: &[u8], revision: i64, salt: u64) -> Option<KeyValue> {
        let prev = self.keys.get(key);
        let entry = KeyValue {
            value: value.to_vec(),
            create_revision: prev.map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.map_or(1, |prev| prev.version + 1),
            salt,
        };
        self.sum = self.sum.wrapping_add(hash(key, &entry));
        let prev = self.keys.insert(key.to_vec(), entry);
        if let Some(prev) = &prev {
            self.sum = self.sum.wrapping_sub(hash(key, prev));
        }
        prev
    }

    fn remove(&mut self, keys: &KeyRange) -> Vec<Pair> {
        let doomed: Vec<Vec<u8>> = self.pairs(keys).map(|(key, _)| key.clone()).collect();
        doomed
            .into_iter()
            .map(|key| {
                let entry = self.keys.remove(&key).expect("the key was just seen");
                self.sum = self.sum.wrapping_sub(hash(&key, &entry));
                (key, entry)
            })
            .collect()
    }

    fn range(&self, op: &Op) -> OpResult {
        let Op::Range { keys, limit, keys_only, count_only } = op else {
            unreachable!("the caller has an operation that reads")
        };
        let count = self.pairs(keys).count();
        let most = match (count_only, limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => *limit,
        };
        let kvs: Vec<Pair> = self
            .pairs(keys)
            .take(most)
            .map(|(key, entry)| {
                let value = if *keys_only { Vec::new() } else { entry.value.clone() };
                (key.clone(), KeyValue { value, ..*entry })
            })
            .collect();
        let more = !count_only && kvs.len() < count;
        OpResult::Range { kvs, count, more }
    }

    fn pairs(&self, keys: &KeyRange) -> impl Iterator<Item = (&Vec<u8>, &KeyValue)> {
        let first = keys.key.as_slice();
        let upper = match keys.range_end.as_slice() {
            [] => Bound::Included(first),
            [0] => Bound::Unbounded,
            // An end before the beginning names no key; BTreeMap would panic.
            end => Bound::Excluded(end.max(first)),
        };
        // `[k, k)` is empty, but as (Included, Excluded) of equal keys it is a range that BTreeMap accepts.
        self.keys.range::<[u8], _>((Bound::Included(first), upper))
    }

    fn holds(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| {
            let mut pairs = self.pairs(&compare.keys).peekable();
            if pairs.peek().is_none() {
                // An absent key has version, revisions and lease 0, but no value at all: not even an empty one.
                let absent = KeyValue::default();
                return !matches!(compare.target, Target::Value(_)) && holds_for(compare, &absent);
            }
            pairs.all(|(_, entry)| holds_for(compare, entry))
        })
    }
}

fn holds_for(compare: &Compare, entry: &KeyValue) -> bool {
    let order = match &compare.target {
        Target::Version(version) => entry.version.cmp(version),
        Target::Create(revision) => entry.create_revision.cmp(revision),
        Target::Mod(revision) => entry.mod_revision.cmp(revision),
        Target::Lease(lease) => 0.cmp(lease),
        Target::Value(value) => entry.value.cmp(value),
    };
    match compare.relation {
        Relation::Equal => order == Ordering::Equal,
        Relation::Greater => order == Ordering::Greater,
        Relation::Less => order == Ordering::Less,
        Relation::NotEqual => order != Ordering::Equal,
    }
}

fn hash(key: &[u8], entry: &KeyValue) -> u64 {
    Hasher::default()
        .field(key)
        .field(&entry.value)
        .number(entry.create_revision.cast_unsigned())
        .number(entry.mod_revision.cast_unsigned())
        .number(entry.version.cast_unsigned())
        .number(entry.salt)
        .finish()
}

#[cfg(test)]
mod tests;
