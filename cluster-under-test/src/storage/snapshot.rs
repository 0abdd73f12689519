//! Snapshot files: written beside, synced, renamed, the directory synced.
//!
//! A name ending in `.snap` therefore always names a whole snapshot. A crash on the way leaves a `.tmp`, which
//! the next start removes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::error::{Doing, StorageError};
use super::record::{u32_at, u64_at};
use super::sync_dir;
use crate::failpoint::{self, Failpoints};
use crate::raft::{Index, Snapshot, Term};

/// The version of this file format; 2 added the members.
const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"RAFTKVSN";
/// Magic, version, checksum, index, term, length of the members, length of the data.
const HEADER_BYTES: usize = 48;
/// What the checksum covers begins here.
const CHECKED_FROM: usize = 16;

pub(super) fn path(dir: &Path, index: Index, term: Term) -> PathBuf {
    dir.join(format!("snap-{index:016x}-{term:016x}.snap"))
}

/// Index and term in a file name, if it is the name of a snapshot.
pub(super) fn index_and_term(file_name: &str) -> Option<(Index, Term)> {
    let (index, term) = file_name.strip_prefix("snap-")?.strip_suffix(".snap")?.split_once('-')?;
    let number = |digits: &str| (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    Some((number(index)?, number(term)?))
}

/// Makes a snapshot durable.
pub(super) fn write(dir: &Path, snapshot: &Snapshot, failpoints: &Failpoints) -> Result<(), StorageError> {
    let path = path(dir, snapshot.index, snapshot.term);
    let beside = path.with_extension("tmp");
    let members = postcard::to_stdvec(&snapshot.members).expect("members encode into memory");
    let mut checked = Vec::with_capacity(HEADER_BYTES - CHECKED_FROM + members.len() + snapshot.data.len());
    checked.extend_from_slice(&snapshot.index.to_le_bytes());
    checked.extend_from_slice(&snapshot.term.to_le_bytes());
    checked.extend_from_slice(&(members.len() as u64).to_le_bytes());
    checked.extend_from_slice(&(snapshot.data.len() as u64).to_le_bytes());
    checked.extend_from_slice(&members);
    checked.extend_from_slice(&snapshot.data);
    let mut file = File::create(&beside).doing("create", &beside)?;
    file.write_all(MAGIC).doing("write", &beside)?;
    file.write_all(&FORMAT.to_le_bytes()).doing("write", &beside)?;
    file.write_all(&crc32fast::hash(&checked).to_le_bytes()).doing("write", &beside)?;
    file.write_all(&checked).doing("write", &beside)?;
    // The rename must not become durable before the bytes that it names.
    file.sync_all().doing("sync", &beside)?;
    failpoints.hit(failpoint::BEFORE_SNAPSHOT_RENAME);
    std::fs::rename(&beside, &path).doing("rename", &beside)?;
    sync_dir(dir)?;
    failpoints.hit(failpoint::AFTER_SNAPSHOT_RENAME);
    Ok(())
}

/// Reads the snapshot that the file name promises.
pub(super) fn read(dir: &Path, index: Index, term: Term) -> Result<Snapshot, StorageError> {
    let path = path(dir, index, term);
    let bytes = std::fs::read(&path).doing("read", &path)?;
    let damaged = |what: String| StorageError::Damaged { path: path.clone(), offset: 0, what };
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
        return Err(damaged("not a snapshot".into()));
    }
    let version = u32_at(&bytes, 8);
    if version != FORMAT {
        return Err(StorageError::Version { path, found: version, known: FORMAT });
    }
    let (expected, actual) = (u32_at(&bytes, 12), crc32fast::hash(&bytes[CHECKED_FROM..]));
    if expected != actual {
        return Err(damaged(format!("checksum {actual:08x} instead of {expected:08x}")));
    }
    let (found_index, found_term) = (u64_at(&bytes, 16), u64_at(&bytes, 24));
    if (found_index, found_term) != (index, term) {
        return Err(damaged(format!("a snapshot of index {found_index}, term {found_term}: it was renamed")));
    }
    let (members_length, data_length) = (u64_at(&bytes, 32), u64_at(&bytes, 40));
    let body = &bytes[HEADER_BYTES..];
    if members_length.checked_add(data_length) != Some(body.len() as u64) {
        let expected = format!("{members_length} of members and {data_length} of data");
        return Err(damaged(format!("{} bytes instead of {expected}", body.len())));
    }
    let (members, data) = body.split_at(usize::try_from(members_length).expect("it is less than the file"));
    let members =
        postcard::from_bytes(members).map_err(|error| damaged(format!("unreadable members: {error}")))?;
    Ok(Snapshot { index, term, members, data: data.to_vec() })
}
