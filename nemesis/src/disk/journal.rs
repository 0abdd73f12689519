//! What was asked of a disk and what came of it: counts for each file, and the latest operations one by one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rules::Operation;

/// Operations that are kept one by one. A node that syncs a thousand times a second fills it in a few seconds, which
/// is what is looked at after a failure.
const RECENT_MAX: usize = 10_000;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// A fault let it fail.
    Failed,
    /// A fault let it succeed without an effect; of so many pages.
    Lied(usize),
    /// A fault delayed it.
    Delayed,
    /// A crash was asked for before it.
    Frozen,
    /// Not by a fault: the file system refused it.
    Refused,
}

/// Counts of a file, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes done.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs done, of a file or a directory.
    pub syncs: u64,
    /// Operations that a fault let fail.
    pub failed: u64,
    /// Pages that a sync was said to have saved and did not.
    pub dropped_pages: u64,
    /// Syncs that a fault delayed.
    pub delayed: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    operation: Operation,
    path: Arc<str>,
    offset: u64,
    bytes: u64,
    fate: Fate,
}

#[derive(Debug)]
pub(super) struct Journal {
    began: Instant,
    files: BTreeMap<Arc<str>, Counts>,
    recent: VecDeque<Entry>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), files: BTreeMap::new(), recent: VecDeque::new() }
    }

    pub(super) fn note(
        &mut self,
        operation: Operation,
        path: &Arc<str>,
        offset: u64,
        bytes: u64,
        fate: Fate,
    ) {
        if !self.files.contains_key(path) {
            self.files.insert(Arc::clone(path), Counts::default());
        }
        self.files.get_mut(path).expect("it was just inserted").add(operation, bytes, fate);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let at = self.began.elapsed();
        self.recent.push_back(Entry { at, operation, path: Arc::clone(path), offset, bytes, fate });
    }

    pub(super) fn total(&self) -> Counts {
        self.files.values().fold(Counts::default(), |sum, counts| Counts {
            writes: sum.writes + counts.writes,
            written_bytes: sum.written_bytes + counts.written_bytes,
            syncs: sum.syncs + counts.syncs,
            failed: sum.failed + counts.failed,
            dropped_pages: sum.dropped_pages + counts.dropped_pages,
            delayed: sum.delayed + counts.delayed,
        })
    }

    /// For people: a line for each file, then the latest operations.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::from("# counts by file\n");
        for (path, counts) in &self.files {
            let Counts { writes, written_bytes, syncs, failed, dropped_pages, delayed } = counts;
            writeln!(
                text,
                "{path}: {writes} writes of {written_bytes} bytes, {syncs} syncs, {failed} failed, {dropped_pages} pages dropped, {delayed} delayed"
            )
            .expect("a string takes all");
        }
        text.push_str("\n# latest operations: ms since the mount, operation, file, offset, bytes, fate\n");
        for Entry { at, operation, path, offset, bytes, fate } in &self.recent {
            let ms = at.as_secs_f64() * 1e3;
            writeln!(text, "{ms:.3} {operation} {path} {offset} {bytes} {fate:?}")
                .expect("a string takes all");
        }
        text
    }
}

impl Counts {
    fn add(&mut self, operation: Operation, bytes: u64, fate: Fate) {
        match fate {
            Fate::Done | Fate::Delayed => match operation {
                Operation::Write => {
                    self.writes += 1;
                    self.written_bytes += bytes;
                }
                Operation::Fsync | Operation::FsyncDirectory => self.syncs += 1,
                Operation::Read
                | Operation::Truncate
                | Operation::Create
                | Operation::Rename
                | Operation::Unlink => (),
            },
            Fate::Failed => self.failed += 1,
            Fate::Lied(pages) => self.dropped_pages += pages as u64,
            Fate::Frozen | Fate::Refused => (),
        }
        self.delayed += u64::from(fate == Fate::Delayed);
    }
}
