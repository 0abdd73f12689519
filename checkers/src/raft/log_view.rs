//! The log of one node as its trace tells it, over appends, truncations, snapshots and restarts.
//!
//! The view never guesses. What a crash may or may not have taken is unknown until the trace says more, and a
//! checker must let an unknown entry pass: a false alarm costs more than a late one, and entries that matter
//! are told again when they are applied.

use std::collections::BTreeMap;

use crate::trace::{LogIndex, SnapshotOrigin, Term, TraceEvent};

/// What is known of the log at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogView {
    /// Terms of the entries in memory, as far as they are known.
    terms: BTreeMap<LogIndex, Term>,
    /// The same for what a `durable` event has confirmed, as of that event.
    durable: BTreeMap<LogIndex, Term>,
    /// The first entry in memory that `durable` does not cover.
    unconfirmed_from: LogIndex,
    /// The last entry; `None` while it is not known.
    last: Option<LogIndex>,
    /// Entries up to here are in the snapshot.
    snapshot_index: LogIndex,
    /// The last snapshot from a leader that has replaced state and log in this life.
    installed_index: LogIndex,
}

/// Where entries that start at an index would be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attachment {
    /// After the last entry, which has this term.
    After(Term),
    /// Not at the end of the log.
    Apart {
        /// The last entry.
        last: LogIndex,
    },
    /// The trace does not tell.
    Unknown,
}

/// Whether a log holds an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It holds an entry of this term there.
    Term(Term),
    /// Its log ends before.
    Missing {
        /// The last entry.
        last: LogIndex,
    },
    /// The entry is in its snapshot, or the trace does not tell.
    Unknown,
}

impl LogView {
    /// Takes in what the event does to the log.
    pub(crate) fn follow(&mut self, event: &TraceEvent) {
        match event {
            &TraceEvent::Boot { snapshot_index, last_index, last_term, .. } => {
                self.restart(snapshot_index, last_index, last_term);
            }
            TraceEvent::Append { first_index, entries, .. } => {
                self.cut(*first_index);
                for (index, &(term, _)) in (*first_index..).zip(entries) {
                    self.terms.insert(index, term);
                }
                self.last = Some(first_index + entries.len() as LogIndex - 1);
            }
            &TraceEvent::Truncate { from_index } => {
                self.cut(from_index);
                self.last = Some(from_index.saturating_sub(1).max(self.snapshot_index));
            }
            &TraceEvent::Durable { index, .. } => self.confirm(index),
            &TraceEvent::Snapshot { index, entry_term, origin: SnapshotOrigin::Installed, .. } => {
                self.install(index);
                // By now the log may have gone on, but not without this entry.
                self.terms.insert(index, entry_term);
            }
            &TraceEvent::Snapshot { index, origin: SnapshotOrigin::Taken, .. } => {
                self.snapshot_index = self.snapshot_index.max(index);
            }
            &TraceEvent::Restore { index, .. } => self.install(index),
            TraceEvent::Term { .. }
            | TraceEvent::Role { .. }
            | TraceEvent::Vote { .. }
            | TraceEvent::Commit { .. }
            | TraceEvent::Apply { .. }
            | TraceEvent::Members { .. }
            | TraceEvent::Aside(_) => {}
        }
    }

    pub(super) fn attachment(&self, first_index: LogIndex) -> Attachment {
        match self.last {
            None => Attachment::Unknown,
            Some(last) if last + 1 != first_index => Attachment::Apart { last },
            Some(0) => Attachment::After(0),
            Some(last) => self.terms.get(&last).map_or(Attachment::Unknown, |&term| Attachment::After(term)),
        }
    }

    pub(crate) fn holding(&self, index: LogIndex) -> Holding {
        match (self.terms.get(&index), self.last) {
            (Some(&term), _) => Holding::Term(term),
            (None, Some(last)) if index > last && index > self.snapshot_index => Holding::Missing { last },
            (None, _) => Holding::Unknown,
        }
    }

    /// The last entry, 0 for an empty log; `None` while it is not known.
    pub(crate) fn last(&self) -> Option<LogIndex> {
        self.last
    }

    /// The term of an entry, if it is known.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        self.terms.get(&index).copied()
    }

    /// The entries after one index and before another whose terms are known.
    pub(super) fn terms(
        &self,
        after: LogIndex,
        before: LogIndex,
    ) -> impl Iterator<Item = (LogIndex, Term)> + use<'_> {
        self.terms.range((after + 1).min(before)..before).map(|(&index, &term)| (index, term))
    }

    /// What is on disk after a crash is what was durable, or what was in memory, or (a truncation that was
    /// not durable yet) a mixture of both; the last entry found tells which. By its index and term it is the
    /// same entry, and what is before it is the same too, unless log matching is broken, which is for another
    /// checker to say.
    fn restart(&mut self, snapshot_index: LogIndex, last_index: LogIndex, last_term: Term) {
        self.cut(last_index + 1);
        self.durable.split_off(&(last_index + 1));
        let ends_so = |terms: &BTreeMap<LogIndex, Term>| terms.get(&last_index) == Some(&last_term);
        if !ends_so(&self.terms) {
            self.terms = if ends_so(&self.durable) { self.durable.clone() } else { BTreeMap::new() };
        }
        if last_index > 0 {
            self.terms.insert(last_index, last_term);
        }
        self.snapshot_index = snapshot_index;
        self.installed_index = snapshot_index;
        self.last = Some(last_index);
        self.durable.clone_from(&self.terms);
        self.unconfirmed_from = last_index + 1;
    }

    /// A snapshot from a leader replaces the log, unless the log holds its last entry, in which case what
    /// follows is kept (§7). Which of them happened shows with the next append; until then the log is unknown.
    ///
    /// A node tells of it twice, when its state is replaced and when the snapshot is durable, and may append
    /// in between: the first time counts. The restore at a boot is of a snapshot that the boot has told.
    fn install(&mut self, index: LogIndex) {
        if index <= self.installed_index {
            return;
        }
        self.installed_index = index;
        self.snapshot_index = self.snapshot_index.max(index);
        self.terms.clear();
        self.unconfirmed_from = 0;
        self.last = None;
    }

    fn cut(&mut self, from_index: LogIndex) {
        self.terms.split_off(&from_index);
        self.unconfirmed_from = self.unconfirmed_from.min(from_index);
    }

    /// Only what has changed since the last confirmation is looked at, or a long log would cost its square.
    fn confirm(&mut self, index: LogIndex) {
        self.durable.split_off(&self.unconfirmed_from);
        if index >= self.unconfirmed_from {
            let fresh = self.terms.range(self.unconfirmed_from..=index);
            self.durable.extend(fresh.map(|(&index, &term)| (index, term)));
            self.unconfirmed_from = index + 1;
        }
    }
}
