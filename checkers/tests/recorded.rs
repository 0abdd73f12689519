//! Histories that others recorded, with their known verdicts: a compare-and-set register in etcd, read from
//! Jepsen's log, and a key-value store with append, read from Porcupine's.
//!
//! They are not part of this repository. They are looked for beside it, in `../shared/data/porcupine`, or where
//! `HARNESS_DATA` says; each folder holds a `verdicts.csv`. Without them the test says so and passes.

use std::fs;
use std::path::{Path, PathBuf};

use checkers::history::Format;
use checkers::{Budget, Checker, Evidence, Expectations, History, Linearizable, Verdict};

fn folder(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HARNESS_DATA").map_or(beside, PathBuf::from);
    let folder = data.join("porcupine").join(name);
    if folder.join("verdicts.csv").is_file() {
        return Some(folder);
    }
    println!("skipped: {} has no verdicts.csv; set HARNESS_DATA to the folder of the data", folder.display());
    None
}

fn verdict(history: History) -> Verdict {
    let evidence = Evidence { history, traces: Vec::new(), expectations: Expectations::default() };
    Linearizable.check(&evidence, Budget::default()).verdict
}

/// Judges each file of a folder as it is and as our export; both must find what is known.
fn check(folder: &Path, format: Format) -> usize {
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table = read(&folder.join("verdicts.csv"));
    let mut rows = table.lines();
    let columns: Vec<&str> = rows.next().expect("a header").split(',').collect();
    let column = |name: &str| columns.iter().position(|column| *column == name).expect(name);
    let mut wrong = Vec::new();
    let mut judged = 0;
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        let file = cells[column("file")];
        let expected = match cells[column("expected")] {
            "linearizable" => Verdict::Valid,
            "illegal" => Verdict::Invalid,
            other => panic!("{file}: `{other}` is not a verdict"),
        };
        let text = read(&folder.join(file));
        assert_eq!(Format::of(&text), format, "{file}");
        let (history, warnings) = History::parse_any(&text, file).unwrap_or_else(|error| panic!("{error}"));
        assert!(warnings.len() <= 1, "{warnings:?}");
        assert_eq!(history.operations().len().to_string(), cells[column("ops")], "{file}");
        let (again, _) = History::parse_any(&history.to_jepsen_edn(), file).expect("our export can be read");
        let found = [verdict(history), verdict(again)];
        if found != [expected, expected] {
            wrong.push(format!("{file}: {found:?} instead of {expected:?}"));
        }
        judged += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    judged
}

#[test]
fn etcd_register_histories_have_their_known_verdicts() {
    if let Some(folder) = folder("etcd") {
        assert_eq!(check(&folder, Format::JepsenLog), 52);
    }
}

#[test]
fn key_value_histories_have_their_known_verdicts() {
    if let Some(folder) = folder("kv") {
        assert_eq!(check(&folder, Format::PorcupineKv), 4);
    }
}
