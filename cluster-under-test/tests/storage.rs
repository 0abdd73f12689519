//! The data directory under crashes, cuts and flipped bits.

use std::path::{Path, PathBuf};

use cluster_under_test::raft::{Entry, HardState, Index, Members, Payload, RequestId, Snapshot, Term, Write};
use cluster_under_test::storage::{Opened, SEGMENT_BYTES, Storage, StorageError, Writer};

/// A directory of its own for each test, removed when the test has passed.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Result<Opened, StorageError> {
        Storage::open(&self.0, SEGMENT_BYTES)
    }

    fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(suffix))
            .collect();
        files.sort();
        files
    }

    fn log(&self) -> PathBuf {
        self.files(".log").pop().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn entry(index: Index, term: Term) -> Entry {
    let request = RequestId { node: 1, incarnation: 1, sequence: index };
    Entry { index, term, payload: Payload::Command { request, command: vec![7; 20] } }
}

fn entries(range: std::ops::RangeInclusive<Index>, term: Term) -> Write {
    Write { entries: range.map(|index| entry(index, term)).collect(), ..Write::default() }
}

fn vote(term: Term, vote: u64) -> Write {
    Write { hard_state: Some(HardState { term, vote: Some(vote) }), ..Write::default() }
}

fn snapshot(index: Index, term: Term) -> Write {
    let members = Members::founders(&[1, 2, 3]);
    Write { snapshot: Some(Snapshot { index, term, members, data: vec![9; 100] }), ..Write::default() }
}

fn installed(index: Index, term: Term) -> Write {
    Write { reset_log: true, ..snapshot(index, term) }
}

/// Index and term of each entry.
fn log(opened: &Opened) -> Vec<(Index, Term)> {
    opened.recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

#[test]
fn a_new_directory_is_empty_and_what_is_written_comes_back() {
    let dir = Dir::new("round-trip");
    let mut opened = dir.open().unwrap();
    assert_eq!(opened.recovered, Default::default());
    let write = Write { hard_state: Some(HardState { term: 2, vote: Some(3) }), ..entries(1..=3, 2) };
    opened.storage.write(vec![vote(1, 1), write]).unwrap();
    drop(opened);
    let opened = dir.open().unwrap();
    assert_eq!(opened.recovered.hard_state, HardState { term: 2, vote: Some(3) });
    assert_eq!(opened.recovered.entries, (1..=3).map(|index| entry(index, 2)).collect::<Vec<_>>());
    assert_eq!(opened.torn_bytes, 0);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_reported() {
    let dir = Dir::new("torn");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=2, 1)]).unwrap();
    let whole = std::fs::read(dir.log()).unwrap();
    storage.write(vec![entries(3..=3, 1)]).unwrap();
    drop(storage);
    let longer = std::fs::read(dir.log()).unwrap();
    for end in whole.len()..longer.len() {
        std::fs::write(dir.log(), &longer[..end]).unwrap();
        let opened = dir.open().unwrap();
        assert_eq!(opened.torn_bytes, (end - whole.len()) as u64);
        assert_eq!(log(&opened), [(1, 1), (2, 1)]);
        assert_eq!(std::fs::read(dir.log()).unwrap(), whole, "the tail is gone from the file");
    }
    // What is written after a cut is found after it.
    std::fs::write(dir.log(), &longer[..longer.len() - 1]).unwrap();
    dir.open().unwrap().storage.write(vec![entries(3..=4, 2)]).unwrap();
    assert_eq!(log(&dir.open().unwrap()), [(1, 1), (2, 1), (3, 2), (4, 2)]);
}

#[test]
fn a_batch_whose_pages_reached_the_disk_out_of_order_is_a_torn_tail() {
    let dir = Dir::new("torn-batch");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=2, 1)]).unwrap();
    let begin = std::fs::metadata(dir.log()).unwrap().len() as usize;
    storage.write((3..=9).map(|index| entries(index..=index, 1)).collect()).unwrap();
    drop(storage);
    let mut bytes = std::fs::read(dir.log()).unwrap();
    bytes[begin..begin + 30].fill(0);
    std::fs::write(dir.log(), &bytes).unwrap();
    let opened = dir.open().unwrap();
    assert_eq!(log(&opened), [(1, 1), (2, 1)]);
    assert_eq!(opened.torn_bytes, (bytes.len() - begin) as u64);
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_refused() {
    let dir = Dir::new("flip");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=1, 1)]).unwrap();
    let begin = std::fs::metadata(dir.log()).unwrap().len() as usize;
    storage.write(vec![entries(2..=2, 1)]).unwrap();
    let end = std::fs::metadata(dir.log()).unwrap().len() as usize;
    storage.write(vec![entries(3..=3, 1)]).unwrap();
    drop(storage);
    let whole = std::fs::read(dir.log()).unwrap();
    for position in 0..end {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        std::fs::write(dir.log(), &bytes).unwrap();
        let error = dir.open().expect_err("damage is not a torn tail");
        let StorageError::Damaged { path, offset, .. } = &error else { panic!("{position}: {error}") };
        assert_eq!(path, &dir.log());
        if position >= begin {
            assert_eq!(*offset, begin as u64, "{error}");
        }
        assert_eq!(std::fs::read(dir.log()).unwrap(), bytes, "a refused directory is left as it is");
    }
    std::fs::write(dir.log(), &whole).unwrap();
    assert_eq!(log(&dir.open().unwrap()).len(), 3);
}

#[test]
fn a_bad_record_in_an_earlier_segment_is_refused_even_at_its_end() {
    let dir = Dir::new("flip-earlier");
    let mut storage = Storage::open(&dir.0, 1).unwrap().storage;
    storage.write(vec![entries(1..=1, 1)]).unwrap();
    storage.write(vec![entries(2..=2, 1)]).unwrap();
    drop(storage);
    let first = &dir.files(".log")[0];
    let mut bytes = std::fs::read(first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(first, &bytes).unwrap();
    let error = dir.open().expect_err("the first segment was synced");
    assert!(matches!(&error, StorageError::Damaged { path, .. } if path == first), "{error}");
}

#[test]
fn truncated_entries_stay_away_after_a_restart() {
    let dir = Dir::new("truncate");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=5, 1)]).unwrap();
    let conflict = Write { truncate_from: Some(3), ..entries(3..=4, 2) };
    storage.write(vec![conflict]).unwrap();
    drop(storage);
    let mut opened = dir.open().unwrap();
    assert_eq!(log(&opened), [(1, 1), (2, 1), (3, 2), (4, 2)]);
    opened.storage.write(vec![Write { truncate_from: Some(4), ..Write::default() }]).unwrap();
    drop(opened);
    assert_eq!(log(&dir.open().unwrap()), [(1, 1), (2, 1), (3, 2)]);
}

#[test]
fn segments_rotate_and_go_when_a_snapshot_includes_them_and_the_vote_stays() {
    let dir = Dir::new("rotate");
    let mut storage = Storage::open(&dir.0, 400).unwrap().storage;
    storage.write(vec![vote(7, 2)]).unwrap();
    for index in 1..=60 {
        storage.write(vec![entries(index..=index, 7)]).unwrap();
    }
    let before = dir.files(".log").len();
    assert!(before > 5, "{before} segments");
    storage.write(vec![snapshot(50, 7)]).unwrap();
    let after = dir.files(".log").len();
    assert!(after < before && after > 1, "{after} of {before} segments are left");
    drop(storage);
    let mut opened = Storage::open(&dir.0, 400).unwrap();
    assert_eq!(opened.recovered.hard_state, HardState { term: 7, vote: Some(2) });
    assert_eq!(opened.recovered.snapshot.as_ref().map(|snapshot| snapshot.index), Some(50));
    assert_eq!(log(&opened), (51..=60).map(|index| (index, 7)).collect::<Vec<_>>());
    opened.storage.write(vec![entries(61..=61, 7), snapshot(61, 7)]).unwrap();
    assert_eq!(dir.files(".snap").len(), 1, "older snapshots are removed");
    assert_eq!(dir.files(".log").len(), 1);
    drop(opened);
    let opened = Storage::open(&dir.0, 400).unwrap();
    assert_eq!(opened.recovered.hard_state, HardState { term: 7, vote: Some(2) });
    assert_eq!(log(&opened), []);
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = Dir::new("missing");
    let mut storage = Storage::open(&dir.0, 1).unwrap().storage;
    for index in 1..=4 {
        storage.write(vec![entries(index..=index, 1)]).unwrap();
    }
    drop(storage);
    // The first one holds nothing but its beginning; that the last one is missing nobody can tell.
    let files = dir.files(".log");
    for file in &files[1..files.len() - 1] {
        let bytes = std::fs::read(file).unwrap();
        std::fs::remove_file(file).unwrap();
        let error = dir.open().expect_err("entries are missing");
        assert!(matches!(&error, StorageError::Missing { .. }), "{error}");
        std::fs::write(file, bytes).unwrap();
    }
    assert_eq!(log(&dir.open().unwrap()).len(), 4);
}

#[test]
fn a_segment_that_was_to_be_deleted_may_come_back_after_a_crash() {
    let dir = Dir::new("undeleted");
    let mut storage = Storage::open(&dir.0, 1).unwrap().storage;
    for index in 1..=4 {
        storage.write(vec![entries(index..=index, 1)]).unwrap();
    }
    let files = dir.files(".log");
    let oldest = std::fs::read(&files[1]).unwrap();
    storage.write(vec![snapshot(4, 1), entries(5..=5, 1)]).unwrap();
    drop(storage);
    assert!(!files[1].exists() && !files[2].exists());
    std::fs::write(&files[1], oldest).unwrap();
    assert_eq!(log(&dir.open().unwrap()), [(5, 1)]);
    assert!(!files[1].exists());
}

#[test]
fn an_installed_snapshot_replaces_the_log() {
    let dir = Dir::new("install");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=9, 1)]).unwrap();
    storage.write(vec![installed(20, 3), entries(21..=22, 3)]).unwrap();
    drop(storage);
    assert_eq!(log(&dir.open().unwrap()), [(21, 3), (22, 3)]);
}

#[test]
fn a_crash_between_snapshot_and_note_leaves_a_log_that_matches_it() {
    for (name, logged, left) in
        [("short", 1..=5, vec![]), ("matching", 1..=9, vec![(8, 1), (9, 1)]), ("conflicting", 1..=9, vec![])]
    {
        let dir = Dir::new(&format!("no-note-{name}"));
        let mut storage = dir.open().unwrap().storage;
        storage.write(vec![entries(logged, 1)]).unwrap();
        let without_note = std::fs::read(dir.log()).unwrap();
        let term = if name == "conflicting" { 2 } else { 1 };
        storage.write(vec![installed(7, term)]).unwrap();
        drop(storage);
        std::fs::write(dir.log(), without_note).unwrap();
        let mut opened = dir.open().unwrap();
        assert_eq!(log(&opened), left, "{name}");
        assert!(opened.recovered.hard_state.term >= term, "a term that was seen is not forgotten");
        // Writing goes on where the protocol believes the log to end.
        let next = left.last().map_or(8, |(index, _)| index + 1);
        opened.storage.write(vec![entries(next..=next, 4)]).unwrap();
        drop(opened);
        assert_eq!(log(&dir.open().unwrap()).last(), Some(&(next, 4)), "{name}");
    }
}

#[test]
fn what_a_crash_left_beside_is_removed() {
    let dir = Dir::new("tmp");
    drop(dir.open().unwrap());
    let half = dir.0.join("snap-0000000000000009-0000000000000001.tmp");
    std::fs::write(&half, b"half").unwrap();
    drop(dir.open().unwrap());
    assert!(!half.exists());
    // Also where the first segment was cut short, and has to be begun anew.
    std::fs::write(&half, b"half").unwrap();
    std::fs::write(dir.log(), b"").unwrap();
    drop(dir.open().unwrap());
    assert!(!half.exists());
}

#[test]
fn a_damaged_or_lost_snapshot_is_refused() {
    let dir = Dir::new("bad-snapshot");
    let mut storage = dir.open().unwrap().storage;
    storage.write(vec![entries(1..=9, 1), snapshot(5, 1)]).unwrap();
    drop(storage);
    let file = dir.files(".snap").pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x40;
        std::fs::write(&file, bytes).unwrap();
        let error = dir.open().expect_err("the checksum covers everything");
        assert!(matches!(error, StorageError::Damaged { .. } | StorageError::Version { .. }), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = dir.open().expect_err("the log notes a snapshot");
    assert!(matches!(error, StorageError::Missing { .. }), "{error}");
}

#[test]
fn a_segment_cut_short_at_its_creation_is_begun_anew_with_the_vote() {
    let dir = Dir::new("torn-segment");
    let mut storage = Storage::open(&dir.0, 1).unwrap().storage;
    storage.write(vec![vote(5, 3), entries(1..=1, 5)]).unwrap();
    storage.write(vec![snapshot(1, 5)]).unwrap();
    storage.write(vec![entries(2..=2, 5)]).unwrap();
    drop(storage);
    let last = dir.log();
    let whole = std::fs::read(&last).unwrap();
    let sequence = u64::from_str_radix(&last.file_stem().unwrap().to_str().unwrap()[4..], 16).unwrap();
    let next = dir.0.join(format!("wal-{:016x}.log", sequence + 1));
    for cut in 0..24 {
        std::fs::write(&next, &whole[..cut]).unwrap();
        let opened = dir.open().unwrap();
        assert_eq!(opened.recovered.hard_state, HardState { term: 5, vote: Some(3) });
        assert_eq!(log(&opened), [(2, 5)]);
        assert_eq!(opened.torn_bytes, cut as u64);
        drop(opened);
        // Now the new segment carries the vote, and the older ones may go.
        let mut opened = dir.open().unwrap();
        assert_eq!((opened.torn_bytes, opened.recovered.hard_state.term), (0, 5));
        opened.storage.write(vec![entries(3..=3, 5)]).unwrap();
        drop(opened);
        assert_eq!(log(&dir.open().unwrap()), [(2, 5), (3, 5)]);
        std::fs::remove_file(&next).unwrap();
    }
}

#[test]
fn two_nodes_cannot_share_a_directory() {
    let dir = Dir::new("lock");
    let opened = dir.open().unwrap();
    let error = dir.open().expect_err("the first one still runs");
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    drop(opened);
    drop(dir.open().unwrap());
}

#[test]
fn waiting_writes_share_a_sync_and_the_last_one_is_reported() {
    let dir = Dir::new("group");
    let (report, reports) = std::sync::mpsc::channel();
    let writer = Writer::start(dir.open().unwrap().storage, move |outcome| {
        report.send(outcome.unwrap()).unwrap();
    })
    .unwrap();
    for seq in 1..=1000 {
        writer.submit(Write { seq, ..entries(seq..=seq, 1) });
    }
    writer.stop();
    let reported: Vec<u64> = reports.iter().collect();
    assert_eq!(reported.last(), Some(&1000));
    assert!(reported.is_sorted() && reported.len() < 1000, "{} syncs for 1000 writes", reported.len());
    assert_eq!(log(&dir.open().unwrap()).len(), 1000);
}
