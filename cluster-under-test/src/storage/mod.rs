//! What a node keeps on disk: a segmented write-ahead log, and snapshots that shorten it.
//!
//! The rule: when [`Storage::write`] returns, what it was given survives a power loss; and what a start reads is
//! what was written, or the start is refused. Protocol and state machine are left to others; this module knows
//! entries only by their position.
//!
//! # Files
//!
//! ```text
//! DIR/LOCK                                   held while a node runs here
//! DIR/wal-<sequence>.log                     segments; sequence numbers are 16 hexadecimal digits and have no holes
//! DIR/snap-<index>-<term>.snap               the latest snapshot (16 digits each)
//! DIR/snap-<index>-<term>.tmp                a snapshot that a crash cut short; removed at the next start
//! ```
//!
//! All numbers are little-endian; checksums are CRC-32 (IEEE).
//!
//! ```text
//! segment   0  magic "RAFTKVWL"     snapshot   0  magic "RAFTKVSN"     record   0  u32 length of what follows 8
//!           8  u32 version, 1                  8  u32 version, 2                4  u32 checksum of that
//!          12  u64 sequence                   12  u32 checksum from 16 on       8  u64 batch start
//!          20  u32 checksum of 0..20          16  u64 index                    16  changes (postcard)
//!          24  records                        24  u64 term
//!                                             32  u64 length of the members
//!                                             40  u64 length of the data
//!                                             48  members (postcard), data
//! ```
//!
//! A record is one [`Write`], so that a write is there wholly or not at all. Its changes are, in order: a snapshot is
//! durable; the log is reset; the log is truncated; entries; term and vote. The first record of a segment carries
//! term and vote, the position of the snapshot and the end of the log into it, so that no older segment is needed
//! for them.
//!
//! # A torn tail and damage
//!
//! A crash may leave a half-written end. It was never acknowledged, so it is cut, and reported. A bad record in the
//! middle was acknowledged; to cut there would lose what clients were promised, so the start is refused. To tell
//! one from the other, each record holds the *batch start*: the offset in the segment at which the write that it
//! came with began. Everything before that offset was synced before. So a bad byte is damage if and only if it
//! lies in a segment that is not the last one, or some good record after it has a batch start beyond it:
//!
//! ```text
//! | record, batch 24 | record, batch 90 | ▒▒▒▒▒▒▒▒▒▒ | record, batch 90 |      torn: one batch, never synced
//! | record, batch 24 | ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ | record, batch 170 |                  damaged: 24..170 was synced
//! ```
//!
//! Damage to the very last batch cannot be told from a torn tail by any means inside the file.

mod error;
mod record;
mod recovery;
mod segment;
mod snapshot;
mod writer;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use self::error::Doing;
use self::record::Change;
use self::recovery::Segment;
use crate::failpoint::{self, Failpoints};
use crate::raft::{HardState, Index, Recovered, Term, Write};

pub use self::error::{StorageError, describe};
pub use self::writer::Writer;

/// The version of the format of segments.
const FORMAT: u32 = 1;
/// A segment that has grown to this is followed by a new one. Large enough that new files are rare, small enough
/// that a start reads one into memory without thinking.
pub const SEGMENT_BYTES: u64 = 8 << 20;

/// An open data directory.
#[derive(Debug)]
pub struct Storage {
    dir: PathBuf,
    segment_bytes: u64,
    /// In order; the last one is `file`.
    segments: VecDeque<Segment>,
    file: File,
    /// The length of `file`, all of it synced.
    synced_bytes: u64,
    hard_state: HardState,
    snapshot: Option<(Index, Term)>,
    last_index: Index,
    syncs: bool,
    failpoints: Failpoints,
    /// Held for its lock, which the kernel drops with the process.
    _lock: Flock<File>,
}

/// A data directory as a start finds it.
#[derive(Debug)]
pub struct Opened {
    /// To write on.
    pub storage: Storage,
    /// What the protocol starts from.
    pub recovered: Recovered,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
}

impl Storage {
    /// Opens a data directory, creating it if there is none. All that is returned is durable.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<Opened, StorageError> {
        let made_before = dir.is_dir();
        std::fs::create_dir_all(dir).doing("create", dir)?;
        let lock = lock(dir)?;
        let plan = recovery::read(dir)?;
        let hard_state = plan.recovered.hard_state;
        let snapshot = plan.recovered.snapshot.as_ref().map(|snapshot| (snapshot.index, snapshot.term));
        if !plan.superfluous.is_empty() {
            // The process before this one may have died between the rename that makes a file superfluous and the
            // sync of the directory; and on a full disk these files must go before anything is written.
            sync_dir(dir)?;
            for path in &plan.superfluous {
                std::fs::remove_file(path).doing("remove", path)?;
            }
        }
        let mut segments = VecDeque::from(plan.segments);
        let (file, synced_bytes) = match plan.good_bytes {
            Some(good_bytes) => {
                let last = segments.back().expect("a segment that is good has a number").sequence;
                (resume(dir, last, plan.last_batch, good_bytes, plan.torn_bytes)?, good_bytes)
            }
            None => {
                sync_name(dir, made_before)?;
                let sequence = segments.pop_back().map_or(1, |torn| torn.sequence);
                segments.push_back(Segment { sequence, max_index: 0 });
                let carry = Change::Carry { hard_state, snapshot, last_index: plan.logged_index };
                segment::create(dir, sequence, carry)?
            }
        };
        // For what was removed, and for a rename by a process that died before it could sync it.
        sync_dir(dir)?;
        let mut storage = Self {
            dir: dir.to_owned(),
            segment_bytes,
            segments,
            file,
            synced_bytes,
            hard_state,
            snapshot,
            last_index: plan.logged_index,
            syncs: true,
            failpoints: Failpoints::default(),
            _lock: lock,
        };
        if plan.recovered.entries.is_empty() {
            storage.note_empty_log()?;
        }
        Ok(Opened { storage, recovered: plan.recovered, torn_bytes: plan.torn_bytes })
    }

    /// Leaves what is written from here on to the kernel's cache. Only a planted bug does so.
    pub fn without_syncs(self) -> Self {
        Self { syncs: false, ..self }
    }

    /// Lets these points end the process from now on.
    #[must_use]
    pub fn with_failpoints(self, failpoints: Failpoints) -> Self {
        Self { failpoints, ..self }
    }

    /// Makes writes durable, in order. After an error the storage must not be used again.
    pub fn write(&mut self, writes: Vec<Write>) -> Result<(), StorageError> {
        let mut batch = Vec::new();
        for mut write in writes {
            if let Some(snapshot) = &mut write.snapshot {
                // Order: what came before, then the snapshot, then the note of it.
                self.append(&mut batch)?;
                snapshot::write(&self.dir, snapshot, &self.failpoints)?;
                // The data is on disk now; the record only notes where.
                snapshot.data = Vec::new();
            }
            let snapshot = write.snapshot.as_ref().map(|snapshot| (snapshot.index, snapshot.term));
            let changes = record::changes(write);
            if self.synced_bytes + batch.len() as u64 >= self.segment_bytes {
                self.append(&mut batch)?;
                self.rotate()?;
            }
            record::encode(self.synced_bytes, &changes, &mut batch);
            for change in &changes {
                self.note(change);
            }
            if snapshot.is_some() {
                self.append(&mut batch)?;
                self.remove_superseded()?;
            }
        }
        self.append(&mut batch)
    }

    /// Writes and syncs a batch of records that begins at `synced_bytes`, and empties it.
    fn append(&mut self, batch: &mut Vec<u8>) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        let path = self.path();
        self.file.write_all(batch).doing("write", &path)?;
        self.failpoints.hit(failpoint::BEFORE_APPEND_SYNC);
        if self.syncs {
            self.file.sync_data().doing("sync", &path)?;
        }
        self.failpoints.hit(failpoint::AFTER_APPEND_SYNC);
        self.synced_bytes += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), StorageError> {
        let sequence = self.segments.back().expect("there is always a last segment").sequence + 1;
        let carry = self.carry();
        (self.file, self.synced_bytes) = segment::create(&self.dir, sequence, carry)?;
        self.segments.push_back(Segment { sequence, max_index: 0 });
        Ok(())
    }

    fn carry(&self) -> Change {
        Change::Carry { hard_state: self.hard_state, snapshot: self.snapshot, last_index: self.last_index }
    }

    /// Keeps in memory what a record changes on disk.
    fn note(&mut self, change: &Change) {
        match change {
            Change::Carry { .. } => unreachable!("a write carries nothing"),
            Change::Snapshot { index, term } => self.snapshot = Some((*index, *term)),
            Change::Reset { index } => {
                self.last_index = *index;
                for segment in &mut self.segments {
                    segment.max_index = 0;
                }
            }
            Change::Truncate { from } => self.last_index = from.saturating_sub(1),
            Change::Entries(entries) => {
                let last = entries.last().expect("a record has no empty list of entries").index;
                self.last_index = last;
                let segment = self.segments.back_mut().expect("there is always a last segment");
                segment.max_index = segment.max_index.max(last);
            }
            Change::HardState(hard_state) => self.hard_state = *hard_state,
        }
    }

    /// Removes the snapshots and segments that the latest, durable snapshot makes superfluous.
    fn remove_superseded(&mut self) -> Result<(), StorageError> {
        let latest = self.snapshot.expect("a snapshot was just noted");
        for file in std::fs::read_dir(&self.dir).doing("list", &self.dir)? {
            let file = file.doing("list", &self.dir)?;
            let snapshot = file.file_name().to_str().and_then(snapshot::index_and_term);
            if snapshot.is_some_and(|snapshot| snapshot != latest) {
                std::fs::remove_file(file.path()).doing("remove", &file.path())?;
            }
        }
        // From the oldest on and never the last one, so that what is left has no holes.
        while self.segments.len() > 1 && self.segments[0].max_index <= latest.0 {
            let segment = self.segments.pop_front().expect("more than one is left");
            let path = segment::path(&self.dir, segment.sequence);
            std::fs::remove_file(&path).doing("remove", &path)?;
        }
        sync_dir(&self.dir)
    }

    /// When a snapshot has replaced a log that did not match it, the files still hold that log. A record that says
    /// so lets the next entry follow the snapshot.
    fn note_empty_log(&mut self) -> Result<(), StorageError> {
        let Some((index, term)) = self.snapshot else { return Ok(()) };
        let changes =
            [Change::Snapshot { index, term }, Change::Reset { index }, Change::HardState(self.hard_state)];
        let mut batch = Vec::new();
        record::encode(self.synced_bytes, &changes, &mut batch);
        for change in &changes {
            self.note(change);
        }
        self.append(&mut batch)
    }

    fn path(&self) -> PathBuf {
        segment::path(&self.dir, self.segments.back().expect("there is always a last segment").sequence)
    }
}

/// Makes the name of the directory durable, which was made by this process, or perhaps by one that died before it
/// could do so.
fn sync_name(dir: &Path, made_before: bool) -> Result<(), StorageError> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    match sync_dir(parent) {
        // It lies in a place of somebody else, who has made it for this node.
        Err(StorageError::Io { source, .. })
            if made_before && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, StorageError> {
    let path = dir.join("LOCK");
    let file = File::create(&path).doing("create", &path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => StorageError::Locked { path },
        errno => StorageError::Io { doing: "lock", path, source: errno.into() },
    })
}

/// Opens a segment to go on writing at the end of its good part.
fn resume(
    dir: &Path,
    sequence: u64,
    last_batch: u64,
    good_bytes: u64,
    torn_bytes: u64,
) -> Result<File, StorageError> {
    let path = segment::path(dir, sequence);
    let mut file = OpenOptions::new().read(true).write(true).open(&path).doing("open", &path)?;
    if torn_bytes > 0 {
        file.set_len(good_bytes).doing("cut", &path)?;
    }
    // What was read of the last batch may be in the page cache only, left by a process that was killed before its
    // sync or ended by an error of it, and from here on it counts as durable. It is written once more: after a
    // failed sync the kernel may believe that these pages are on the disk, and another sync would do nothing.
    let length = usize::try_from(good_bytes.saturating_sub(last_batch)).expect("a segment fits into memory");
    let mut batch = vec![0; length];
    file.read_exact_at(&mut batch, last_batch).doing("read", &path)?;
    file.write_all_at(&batch, last_batch).doing("write", &path)?;
    file.sync_all().doing("sync", &path)?;
    file.seek(SeekFrom::Start(good_bytes)).doing("seek", &path)?;
    Ok(file)
}

fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}
