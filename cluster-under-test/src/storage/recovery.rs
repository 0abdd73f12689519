//! From files to [`Recovered`]: replays the write-ahead log over the latest snapshot.
//!
//! Nothing is changed on disk here. What is found to be superfluous (a torn tail, older snapshots, temporary
//! files, segments before a hole that nobody needs) is named in the [`Plan`] and removed by the caller.

use std::path::{Path, PathBuf};

use super::error::{Doing, StorageError};
use super::record::Change;
use super::segment::{self, Position};
use super::snapshot;
use crate::raft::{Entry, HardState, Index, Recovered, Snapshot, Term};

/// A segment that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// The highest index of an entry in it: once a snapshot includes that, the segment is not needed.
    pub(super) max_index: Index,
}

/// What was found, and what is left to do on disk.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) recovered: Recovered,
    /// Where the log in the segments ends, which may be before the snapshot.
    pub(super) logged_index: Index,
    /// In order; the last one is being written.
    pub(super) segments: Vec<Segment>,
    /// The length of the good part of the last segment; `None` if it has to be created (again).
    pub(super) good_bytes: Option<u64>,
    /// Where the last batch in the last segment begins: what is before it was surely synced.
    pub(super) last_batch: u64,
    pub(super) torn_bytes: u64,
    /// Files that nothing needs.
    pub(super) superfluous: Vec<PathBuf>,
}

/// Reads a data directory.
pub(super) fn read(dir: &Path) -> Result<Plan, StorageError> {
    let mut sequences = Vec::new();
    let mut snapshots = Vec::new();
    let mut superfluous = Vec::new();
    for file in std::fs::read_dir(dir).doing("list", dir)? {
        let file = file.doing("list", dir)?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(sequence) = segment::sequence(name) {
            sequences.push(sequence);
        } else if let Some(snapshot) = snapshot::index_and_term(name) {
            snapshots.push(snapshot);
        } else if name.starts_with("snap-") && name.ends_with(".tmp") {
            superfluous.push(file.path());
        }
    }
    sequences.sort_unstable();
    snapshots.sort_unstable();

    let latest = snapshots.pop();
    superfluous.extend(snapshots.iter().map(|&(index, term)| snapshot::path(dir, index, term)));
    let latest = latest.map(|(index, term)| snapshot::read(dir, index, term)).transpose()?;

    // Segments are deleted from the oldest on; a crash may make a later deletion durable before an earlier one.
    // What lies before such a hole was about to go; whether it is really not needed is checked below.
    let begin = (1..sequences.len()).rev().find(|&i| sequences[i - 1] + 1 != sequences[i]).unwrap_or(0);
    superfluous.extend(sequences.drain(..begin).map(|sequence| segment::path(dir, sequence)));

    let missing = |what: String| StorageError::Missing { dir: dir.to_owned(), what };
    if let (Some(snapshot), true) = (&latest, sequences.is_empty()) {
        let index = snapshot.index;
        return Err(missing(format!("there is a snapshot of index {index} and no segment with the vote")));
    }

    let mut replay = Replay::default();
    let mut segments = Vec::new();
    let mut good_bytes = None;
    let mut torn_bytes = 0;
    let mut last_batch = 0;
    for (i, &sequence) in sequences.iter().enumerate() {
        let position = if i + 1 == sequences.len() { Position::Last } else { Position::Earlier };
        let scan = segment::scan(dir, sequence, position)?;
        last_batch = scan.records.last().map_or(0, |record| record.batch_start);
        let mut max_index = 0;
        let mut offset = segment::HEADER_BYTES;
        for record in scan.records {
            for change in record.changes {
                if let Change::Entries(entries) = &change {
                    max_index = max_index.max(entries.last().map_or(0, |entry| entry.index));
                }
                replay.apply(change).map_err(|what| StorageError::Damaged {
                    path: segment::path(dir, sequence),
                    offset: offset as u64,
                    what,
                })?;
            }
            offset = record.end;
        }
        segments.push(Segment { sequence, max_index });
        if position == Position::Last {
            torn_bytes = scan.torn_bytes as u64;
            // A segment without its first record would lack what was carried into it, and the older segments that
            // still have it will be deleted one day: such a segment is begun anew.
            let begun = scan.good_bytes > segment::HEADER_BYTES;
            good_bytes = begun.then_some(scan.good_bytes as u64);
            if !begun && i == 0 && sequence > 1 {
                return Err(missing(format!(
                    "segment {sequence:016x} has no beginning, and none is before it"
                )));
            }
        }
    }
    let logged_index = replay.last_index();
    let recovered = replay.finish(latest).map_err(missing)?;
    Ok(Plan { recovered, logged_index, segments, good_bytes, last_batch, torn_bytes, superfluous })
}

/// The state that the records build up.
#[derive(Debug)]
struct Replay {
    started: bool,
    hard_state: HardState,
    snapshot: Option<(Index, Term)>,
    /// The index of `entries[0]`, or of the next entry.
    first_index: Index,
    entries: Vec<Entry>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            started: false,
            hard_state: HardState::default(),
            snapshot: None,
            first_index: 1,
            entries: Vec::new(),
        }
    }
}

impl Replay {
    fn last_index(&self) -> Index {
        self.first_index + self.entries.len() as u64 - 1
    }

    fn apply(&mut self, change: Change) -> Result<(), String> {
        match change {
            // The first segment that is left stands for the deleted ones. In the others it says nothing new.
            Change::Carry { hard_state, snapshot, last_index } if !self.started => {
                self.hard_state = hard_state;
                self.snapshot = snapshot;
                self.first_index = last_index + 1;
            }
            Change::Carry { last_index, .. } if last_index != self.last_index() => {
                return Err(format!("the log ends at {}, not at {last_index} as noted", self.last_index()));
            }
            Change::Carry { .. } => {}
            Change::Snapshot { index, term } => self.snapshot = Some((index, term)),
            Change::Reset { index } => {
                self.first_index = index + 1;
                self.entries.clear();
            }
            Change::Truncate { from } => {
                self.entries
                    .truncate(usize::try_from(from.saturating_sub(self.first_index)).unwrap_or(usize::MAX));
                self.first_index = self.first_index.min(from);
            }
            Change::Entries(entries) => {
                for entry in entries {
                    if entry.index != self.last_index() + 1 {
                        return Err(format!("entry {} follows entry {}", entry.index, self.last_index()));
                    }
                    self.entries.push(entry);
                }
            }
            Change::HardState(hard_state) => self.hard_state = hard_state,
        }
        self.started = true;
        Ok(())
    }

    /// The log after the snapshot; the error says what is missing.
    fn finish(mut self, snapshot: Option<Snapshot>) -> Result<Recovered, String> {
        let (index, term) = snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
        if let Some((noted, noted_term)) = self.snapshot
            && noted > index
        {
            return Err(format!("the log notes a snapshot of index {noted}, term {noted_term}"));
        }
        if self.first_index > index + 1 {
            return Err(format!("the log begins at {}, the snapshot ends at {index}", self.first_index));
        }
        // A crash between a snapshot and its note in the log leaves a log that may not reach or not match the
        // snapshot. Then the snapshot replaces it, as when it is received (Raft paper, Figure 13, steps 6 and 7).
        let included = usize::try_from(index + 1 - self.first_index).expect("a log fits into memory");
        let matches = included == 0 || self.entries.get(included - 1).is_some_and(|entry| entry.term == term);
        if matches {
            self.entries.drain(..included);
        } else {
            self.entries.clear();
        }
        // A snapshot is durable just before the term that it came in.
        let newest_term = self.entries.last().map_or(term, |entry| entry.term);
        if newest_term > self.hard_state.term {
            self.hard_state = HardState { term: newest_term, vote: None };
        }
        Ok(Recovered { hard_state: self.hard_state, snapshot, entries: self.entries })
    }
}
