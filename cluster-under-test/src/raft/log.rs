//! The log in memory: the entries after some position, and the term at that position.
//!
//! What came before `base` has been compacted into a snapshot (§7). All of it was committed, so nobody ever
//! asks for more than the term at `base` itself, which the consistency check of the next entry needs (§5.3).

use std::collections::VecDeque;

use super::{Entry, Index, Payload, Term};
use crate::rules::LogEnd;

/// Most bytes of commands in one message, beyond the first entry: a bound for the memory of a message, large
/// enough that the number of entries is the usual limit.
const SLICE_BYTES_MAX: usize = 1 << 20;

/// Entries without gaps, from `base.index + 1` on, with terms that never go down.
#[derive(Debug, Default)]
pub(super) struct Log {
    base: LogEnd,
    entries: VecDeque<Entry>,
}

impl Log {
    /// A log that continues after `base`.
    pub(super) fn new(base: LogEnd, entries: &[Entry]) -> Self {
        let mut log = Self { base, entries: VecDeque::new() };
        log.append(entries);
        log
    }

    /// The last position that is no longer there, or 0.
    pub(super) fn base(&self) -> LogEnd {
        self.base
    }

    /// The last position.
    pub(super) fn end(&self) -> LogEnd {
        self.entries.back().map_or(self.base, |last| LogEnd { term: last.term, index: last.index })
    }

    pub(super) fn last_index(&self) -> Index {
        self.end().index
    }

    /// The term at `index`, if the log reaches from `base` to there.
    pub(super) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.position(index).map(|position| self.entries[position].term)
    }

    /// Entries from `first` on: at most `entries_max`, and no more bytes than a message should have.
    pub(super) fn slice(&self, first: Index, entries_max: usize) -> Vec<Entry> {
        let Some(position) = self.position(first) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += size(entry);
            entry.index == first || bytes <= SLICE_BYTES_MAX
        };
        self.entries.range(position..).take(entries_max).take_while(fits).cloned().collect()
    }

    /// All entries of `first..=last` that are there.
    pub(super) fn range(&self, first: Index, last: Index) -> Vec<Entry> {
        let Some(position) = self.position(first) else { return Vec::new() };
        self.entries.range(position..).take_while(|entry| entry.index <= last).cloned().collect()
    }

    /// Adds entries at the end.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            let end = self.end();
            assert_eq!(entry.index, end.index + 1, "the log has no gaps");
            // Log terms go up: an entry is created by the leader of the newest term, behind older ones.
            debug_assert!(entry.term > 0, "an entry is created by a leader, and the first leader has term 1");
            self.entries.push_back(entry.clone());
        }
    }

    /// Removes the entry at `from` and all after it.
    pub(super) fn truncate(&mut self, from: Index) {
        let kept = from.saturating_sub(self.base.index + 1);
        self.entries.truncate(usize::try_from(kept).expect("a log fits into memory"));
    }

    /// Forgets the entries up to `index`, which must be there.
    pub(super) fn compact(&mut self, index: Index) {
        if index <= self.base.index {
            return;
        }
        let term = self.term(index).expect("only what is in the log can be compacted");
        self.entries.drain(..=self.position(index).expect("it has a term, so it has a position"));
        self.base = LogEnd { term, index };
    }

    /// Forgets everything: a snapshot of `base` replaces it.
    pub(super) fn reset(&mut self, base: LogEnd) {
        *self = Self { base, entries: VecDeque::new() };
    }

    /// The first index of the term that the entry at `index` has.
    ///
    /// Terms never go down along the log, so this is a binary search.
    pub(super) fn first_of_term_at(&self, index: Index) -> Option<Index> {
        let term = self.term(index)?;
        let position = self.entries.partition_point(|entry| entry.term < term);
        Some(self.entries.get(position).map_or(index, |entry| entry.index).min(index))
    }

    /// The last index of an entry of `term`, if there is one.
    pub(super) fn last_of_term(&self, term: Term) -> Option<Index> {
        let after = self.entries.partition_point(|entry| entry.term <= term);
        let last = after.checked_sub(1).map_or(self.base, |position| {
            let entry = &self.entries[position];
            LogEnd { term: entry.term, index: entry.index }
        });
        (last.term == term && last.index > 0).then_some(last.index)
    }

    fn position(&self, index: Index) -> Option<usize> {
        let position = usize::try_from(index.checked_sub(self.base.index + 1)?).ok()?;
        (position < self.entries.len()).then_some(position)
    }
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command { command, .. } => command.len(),
        // A line or two a member.
        Payload::Members { members, .. } => members.0.len() * 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(first: Index, terms: &[Term]) -> Vec<Entry> {
        let entry = |(index, &term)| Entry { index, term, payload: Payload::Noop };
        (first..).zip(terms).map(entry).collect()
    }

    fn log(base: (Term, Index), terms: &[Term]) -> Log {
        Log::new(LogEnd { term: base.0, index: base.1 }, &entries(base.1 + 1, terms))
    }

    #[test]
    fn an_empty_log_ends_before_the_first_entry() {
        let log = Log::default();
        assert_eq!(log.end(), LogEnd { term: 0, index: 0 });
        assert_eq!(log.term(0), Some(0));
        assert_eq!(log.term(1), None);
        assert_eq!(log.last_of_term(0), None);
    }

    #[test]
    fn the_term_at_the_base_is_known_and_before_it_is_not() {
        let log = log((2, 5), &[2, 3]);
        assert_eq!([4, 5, 6, 7, 8].map(|index| log.term(index)), [None, Some(2), Some(2), Some(3), None]);
    }

    #[test]
    fn a_slice_is_bounded_but_never_empty_where_there_is_an_entry() {
        let request = super::super::RequestId { node: 1, incarnation: 1, sequence: 1 };
        let large = Payload::Command { request, command: vec![0; SLICE_BYTES_MAX + 1] };
        let mut log = log((0, 0), &[1, 1, 1]);
        log.append(&[Entry { index: 4, term: 1, payload: large.clone() }]);
        log.append(&[Entry { index: 5, term: 1, payload: large }]);
        assert_eq!(log.slice(1, 2).len(), 2);
        assert_eq!(log.slice(1, 9).len(), 3, "a large entry travels alone");
        assert_eq!(log.slice(4, 9).len(), 1);
        assert_eq!(log.slice(6, 9).len(), 0);
    }

    #[test]
    fn the_first_and_last_index_of_a_term() {
        let log = log((2, 5), &[2, 2, 4, 4, 4]);
        assert_eq!(log.first_of_term_at(7), Some(6), "what lies before the base is unknown");
        assert_eq!(log.first_of_term_at(10), Some(8));
        assert_eq!(log.first_of_term_at(11), None);
        assert_eq!(log.last_of_term(2), Some(7));
        assert_eq!(log.last_of_term(3), None);
        assert_eq!(log.last_of_term(4), Some(10));
        assert_eq!(super::tests::log((2, 5), &[3]).last_of_term(2), Some(5));
    }

    proptest::proptest! {
        /// The log against its dumber twin: a plain list of all entries, of which the first `base` are
        /// ignored.
        #[test]
        fn a_log_is_a_list(steps in proptest::collection::vec((0..4_u8, 0..6_u64), 0..40)) {
            let mut twin: Vec<Term> = Vec::new();
            let mut base = 0;
            let mut log = Log::default();
            for (step, number) in steps {
                let last = twin.len() as u64;
                match step {
                    0 | 1 => {
                        let term = twin.last().copied().unwrap_or(1) + number / 4;
                        log.append(&entries(last + 1, &[term]));
                        twin.push(term);
                    }
                    2 => {
                        let from = (base + 1 + number).min(last + 1);
                        log.truncate(from);
                        twin.truncate(usize::try_from(from - 1).unwrap());
                    }
                    _ => {
                        let index = (base + number).min(last);
                        log.compact(index);
                        base = index;
                    }
                }
                let last = twin.len() as u64;
                assert_eq!((log.base().index, log.last_index()), (base, last));
                for index in base.max(1)..=last {
                    let term = twin[usize::try_from(index - 1).unwrap()];
                    assert_eq!(log.term(index), Some(term));
                    let has_term = |&i: &Index| twin[usize::try_from(i - 1).unwrap()] == term;
                    let of_term = || (base.max(1)..=last).filter(has_term);
                    assert_eq!(log.last_of_term(term), of_term().next_back());
                    if index > base {
                        assert_eq!(log.first_of_term_at(index), of_term().find(|&i| i > base));
                    }
                }
                let whole: Vec<_> = log.range(base + 1, last).iter().map(|entry| entry.index).collect();
                assert_eq!(whole, (base + 1..=last).collect::<Vec<_>>());
            }
        }
    }
}
