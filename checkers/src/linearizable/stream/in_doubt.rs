//! Writes and swaps that never returned and that nobody has seen. Each may be seen at any later time, however long
//! the run, so whoever forgets one takes a lawful read for a violation. They are all that a stream cannot forget, and
//! of each it keeps the least that decides: its value, and the value that it swapped from.
//!
//! When it was invoked decides nothing once L, the least invocation among the operations that are open and have not
//! timed out, has reached it: whoever sees the value later was itself invoked at L or later, and of a block only the
//! last invocation counts. Until then the write waits with all that is known of it.

use std::collections::{HashMap, VecDeque};

use super::super::hash::BuildMix;
use crate::history::Time;

/// What timed out.
#[derive(Debug, Default)]
pub(super) struct InDoubt {
    /// By the value written; a plain write, which rests on no value, stands with its own. 17 bytes and the hash
    /// table's spare room each.
    rests_on: HashMap<u64, u64, BuildMix>,
    /// Values and invocations of those that L has not reached, as they timed out.
    waiting: VecDeque<(u64, Time)>,
}

impl InDoubt {
    /// An operation that writes this value timed out.
    pub(super) fn wait(&mut self, value: u64, invoked: Time) {
        self.waiting.push_back((value, invoked));
    }

    /// The next one that L has reached.
    pub(super) fn reached(&mut self, least_open: Time) -> Option<u64> {
        self.waiting.pop_front_if(|(_, invoked)| *invoked <= least_open).map(|(value, _)| value)
    }

    /// Remembers a value and the one that it was swapped from, which is never the same.
    pub(super) fn keep(&mut self, value: u64, from: Option<u64>) {
        self.rests_on.insert(value, from.unwrap_or(value));
    }

    /// Whether the value is among those kept.
    pub(super) fn holds(&self, value: u64) -> bool {
        self.rests_on.contains_key(&value)
    }

    /// Somebody saw the value: what it was swapped from, if it is among those kept.
    pub(super) fn take(&mut self, value: u64) -> Option<Option<u64>> {
        let from = self.rests_on.remove(&value)?;
        Some((from != value).then_some(from))
    }

    pub(super) fn len(&self) -> usize {
        self.rests_on.len() + self.waiting.len()
    }
}
