//! One file of the write-ahead log: its name, its header, and how it is read at start.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::error::{Doing, StorageError};
use super::record::{self, Change, Found, u32_at, u64_at};
use super::{FORMAT, sync_dir};

/// What a segment begins with.
const MAGIC: &[u8; 8] = b"RAFTKVWL";
/// Magic, version, sequence number, checksum.
pub(super) const HEADER_BYTES: usize = 24;

pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("wal-{sequence:016x}.log"))
}

/// The sequence number in a file name, if it is the name of a segment.
pub(super) fn sequence(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_prefix("wal-")?.strip_suffix(".log")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Creates a segment with its first record, durably, and returns it with its length.
pub(super) fn create(dir: &Path, sequence: u64, carry: Change) -> Result<(File, u64), StorageError> {
    let path = path(dir, sequence);
    let mut bytes = header(sequence);
    record::encode(0, &[carry], &mut bytes);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).open(&path).doing("create", &path)?;
    file.write_all(&bytes).doing("write", &path)?;
    file.sync_all().doing("sync", &path)?;
    sync_dir(dir)?;
    Ok((file, bytes.len() as u64))
}

fn header(sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether damage at the end of a segment may be a torn tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Writing went on in a later segment, so all of this one was synced.
    Earlier,
    /// Writing was going on here.
    Last,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// Its records, in order.
    pub(super) records: Vec<Found>,
    /// The length of the good part; 0 if not even the header is.
    pub(super) good_bytes: usize,
    /// Bytes after it, a torn tail.
    pub(super) torn_bytes: usize,
}

/// Reads a segment. Damage that is not a torn tail is an error.
pub(super) fn scan(dir: &Path, sequence: u64, position: Position) -> Result<Scan, StorageError> {
    let path = path(dir, sequence);
    let bytes = std::fs::read(&path).doing("read", &path)?;
    let mut records = Vec::new();
    let mut good = 0;
    let damage = match check_header(&path, &bytes, sequence)? {
        Err(what) => Some(what),
        Ok(()) => {
            good = HEADER_BYTES;
            loop {
                if good == bytes.len() {
                    break None;
                }
                match record::decode(&bytes, good) {
                    Ok(found) => {
                        good = found.end;
                        records.push(found);
                    }
                    Err(what) => break Some(what),
                }
            }
        }
    };
    if let Some(what) = damage
        && (position == Position::Earlier || record::damage_is_proven(&bytes, good))
    {
        return Err(StorageError::Damaged { path, offset: good as u64, what });
    }
    Ok(Scan { records, good_bytes: good, torn_bytes: bytes.len() - good })
}

fn check_header(path: &Path, bytes: &[u8], sequence: u64) -> Result<Result<(), String>, StorageError> {
    if bytes.len() < HEADER_BYTES {
        return Ok(Err(format!("{} bytes instead of a segment header", bytes.len())));
    }
    let (fields, checksum) = bytes[..HEADER_BYTES].split_at(HEADER_BYTES - 4);
    if &fields[..8] != MAGIC || crc32fast::hash(fields) != u32_at(checksum, 0) {
        return Ok(Err("not the header of a segment".into()));
    }
    let version = u32_at(fields, 8);
    if version != FORMAT {
        return Err(StorageError::Version { path: path.to_owned(), found: version, known: FORMAT });
    }
    let found = u64_at(fields, 12);
    if found != sequence {
        let what = format!("the header is of segment {found:016x}: the file was renamed");
        return Err(StorageError::Damaged { path: path.to_owned(), offset: 12, what });
    }
    Ok(Ok(()))
}
