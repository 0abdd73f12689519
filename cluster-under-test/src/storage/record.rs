//! A record of the write-ahead log: one [`Write`] as bytes, and bytes as records again.
//!
//! A record holds all of a write, so that a write is on disk wholly or not at all: entries of a new term never
//! without the term itself.

use serde::{Deserialize, Serialize};

use crate::raft::{Entry, HardState, Index, Term, Write};

/// Length and checksum in front of the payload.
const FRAME_BYTES: usize = 8;
/// The batch start in front of the changes.
const BATCH_START_BYTES: usize = 8;

/// One change to what is durable. Changes of a record are made in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// The first record of a segment: what stood at its beginning, so that older segments can be deleted.
    Carry { hard_state: HardState, snapshot: Option<(Index, Term)>, last_index: Index },
    /// This snapshot is durable.
    Snapshot { index: Index, term: Term },
    /// The whole log is dropped; the next entry comes after this one.
    Reset { index: Index },
    /// This entry and all after it are removed.
    Truncate { from: Index },
    /// Entries are appended.
    Entries(Vec<Entry>),
    /// Term and vote.
    HardState(HardState),
}

/// The changes of a write. Its snapshot, if any, has become durable before.
pub(super) fn changes(write: Write) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(snapshot) = &write.snapshot {
        changes.push(Change::Snapshot { index: snapshot.index, term: snapshot.term });
        if write.reset_log {
            changes.push(Change::Reset { index: snapshot.index });
        }
    }
    if let Some(from) = write.truncate_from {
        changes.push(Change::Truncate { from });
    }
    if !write.entries.is_empty() {
        changes.push(Change::Entries(write.entries));
    }
    if let Some(hard_state) = write.hard_state {
        changes.push(Change::HardState(hard_state));
    }
    changes
}

/// Appends a record to `buffer`. `batch_start` is the offset in its segment up to which everything was synced
/// before this record was written.
pub(super) fn encode(batch_start: u64, changes: &[Change], buffer: &mut Vec<u8>) {
    let frame = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_BYTES]);
    buffer.extend_from_slice(&batch_start.to_le_bytes());
    *buffer = postcard::to_extend(changes, std::mem::take(buffer)).expect("changes encode into memory");
    let payload = &buffer[frame + FRAME_BYTES..];
    let length = u32::try_from(payload.len()).expect("a write is far smaller than 4 GiB");
    let checksum = crc32fast::hash(payload);
    buffer[frame..frame + 4].copy_from_slice(&length.to_le_bytes());
    buffer[frame + 4..frame + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// A record as found on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the batch began that it was written with.
    pub(super) batch_start: u64,
    /// What it says.
    pub(super) changes: Vec<Change>,
    /// The offset after it.
    pub(super) end: usize,
}

/// Reads the record at `offset`; the error says what is wrong with it.
pub(super) fn decode(bytes: &[u8], offset: usize) -> Result<Found, String> {
    let (payload, end) = frame(bytes, offset)?;
    let (batch_start, changes) =
        payload.split_first_chunk::<BATCH_START_BYTES>().expect("frame() checked the length");
    let changes = postcard::from_bytes(changes).map_err(|error| format!("unreadable record: {error}"))?;
    Ok(Found { batch_start: u64::from_le_bytes(*batch_start), changes, end })
}

/// Whether a record after `bad` proves that the byte at `bad` was once durable.
///
/// Records of one batch are written together, and a power loss may keep the later half of them. So only a record
/// of a *later* batch is proof: it was written after a sync of everything before its batch.
pub(super) fn damage_is_proven(bytes: &[u8], bad: usize) -> bool {
    // Almost every offset fails the cheap test, so that the checksum is computed for very few.
    (bad + 1..bytes.len().saturating_sub(FRAME_BYTES + BATCH_START_BYTES)).any(|offset| {
        let batch_start = u64_at(bytes, offset + FRAME_BYTES);
        let plausible = batch_start > bad as u64 && batch_start <= offset as u64;
        plausible && frame(bytes, offset).is_ok()
    })
}

/// The payload at `offset` and the offset after it.
fn frame(bytes: &[u8], offset: usize) -> Result<(&[u8], usize), String> {
    let rest = &bytes[offset..];
    if rest.len() < FRAME_BYTES {
        return Err(format!("{} bytes where a record begins", rest.len()));
    }
    let length = u32_at(rest, 0) as usize;
    let checksum = u32_at(rest, 4);
    // An empty payload has checksum 0: without this test a run of zeros would be a run of good records.
    if length < BATCH_START_BYTES {
        return Err(format!("impossible record length {length}"));
    }
    let Some(payload) = rest[FRAME_BYTES..].get(..length) else {
        return Err(format!("a record of {length} bytes with {} bytes left", rest.len() - FRAME_BYTES));
    };
    let actual = crc32fast::hash(payload);
    if actual != checksum {
        return Err(format!("checksum {actual:08x} instead of {checksum:08x}"));
    }
    Ok((payload, offset + FRAME_BYTES + length))
}

/// The little-endian number at `offset`, which the caller knows to be inside.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

/// The little-endian number at `offset`, which the caller knows to be inside.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: Term) -> Vec<Change> {
        vec![Change::HardState(HardState { term, vote: Some(1) })]
    }

    #[test]
    fn records_come_back_one_after_another() {
        let mut bytes = Vec::new();
        encode(0, &vote(1), &mut bytes);
        let first_end = bytes.len();
        encode(0, &vote(2), &mut bytes);
        let first = decode(&bytes, 0).unwrap();
        assert_eq!((first.end, first.changes), (first_end, vote(1)));
        assert_eq!(decode(&bytes, first_end).unwrap().changes, vote(2));
    }

    #[test]
    fn zeros_are_not_records() {
        assert!(decode(&[0; 64], 0).is_err());
    }

    #[test]
    fn only_a_later_batch_proves_damage() {
        let mut bytes = Vec::new();
        encode(0, &vote(1), &mut bytes);
        encode(0, &vote(2), &mut bytes);
        bytes[9] ^= 1;
        assert!(
            !damage_is_proven(&bytes, 0),
            "both records belong to a batch that may never have been synced"
        );
        let batch_start = bytes.len() as u64;
        encode(batch_start, &vote(3), &mut bytes);
        assert!(damage_is_proven(&bytes, 0));
    }
}
