//! Failures saved by former builds are found by this one.

use std::fs;
use std::path::{Path, PathBuf};

use harness::judge::judge_run;
use harness::run_dir::RunDir;
use harness::saved::{self, Found};

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results")
}

/// A copy, because judging writes beside the evidence.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary directory can be written to");
    for entry in fs::read_dir(from).expect("a saved failure can be read") {
        let entry = entry.expect("a saved failure can be read");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a temporary directory can be written to");
        }
    }
}

#[test]
fn saved_failures_are_judged_as_when_they_were_saved() {
    let places = saved::all(&results()).expect("the saved failures can be read");
    assert!(!places.is_empty(), "there are saved failures, or this test shows nothing");
    let scratch = std::env::temp_dir().join(format!("harness-saved-{}", std::process::id()));
    for place in &places {
        let name = place.file_name().expect("a directory has a name");
        let copied = scratch.join(name);
        copy(place, &copied);
        let before = saved::found(place).expect("findings are saved with the failure");
        let judgement =
            judge_run(&RunDir::open(&copied).expect("it has a history")).expect("it can be judged");
        let now = Found { verdict: judgement.verdict, findings: judgement.findings };
        assert_eq!(now.verdict, before.verdict, "{}", place.display());
        assert_eq!(now.anomalies(), before.anomalies(), "{}", place.display());
    }
    fs::remove_dir_all(&scratch).expect("our own directory can be removed");
}
