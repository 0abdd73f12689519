//! Whole runs on faulty disks: what raft-kv must survive, what a missing sync does not, and what a killed harness leaves.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{Scratch, harness, object, shown};
use serde_json::Value as Json;

fn run(results: &Path, faults: &str, more: &[&str]) -> Output {
    let mut args = vec!["test", "--faults", faults, "--json", "--seed", "3"];
    args.extend(more);
    harness(results, &args).output().expect("the harness starts")
}

/// The faults of a run, as the history has them.
fn faults(results: &Path) -> Vec<Json> {
    let text = fs::read_to_string(results.join("latest/history.jsonl")).expect("the run has a history");
    let events = text.lines().map(|line| serde_json::from_str::<Json>(line).expect("a line is an event"));
    events.filter(|event| event["type"] == "fault").collect()
}

#[test]
fn the_papers_raft_survives_what_a_disk_may_do() {
    let scratch = Scratch::new("disk-valid");
    let all = "power-loss,torn-write,disk-crash,disk-eio,fsync-error,disk-full,slow-fsync";
    let output = run(scratch.path(), all, &["--time-limit", "30"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let node = scratch.path().join("latest/nodes/n1");
    assert!(
        !node.join("disk").exists() && !node.join("data").exists(),
        "nothing of a valid run's disks is left"
    );
}

#[test]
fn a_missing_sync_survives_kills_and_dies_of_a_power_loss() {
    let scratch = Scratch::new("disk-no-fsync");
    let bug = ["--bug", "no-fsync", "--nodes", "3", "--time-limit", "12"];
    let output = run(scratch.path(), "kill:majority", &bug);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));

    let output = run(scratch.path(), "power-loss:all:mode=ext4", &bug);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let findings = object(&output)["findings"].as_array().expect("a list").clone();
    let invalid = |checker: &str| {
        findings.iter().any(|finding| finding["checker"] == checker && finding["verdict"] == "invalid")
    };
    assert!(invalid("monotone") && invalid("durable-votes"), "{}", shown(&output));
    let injected = faults(scratch.path());
    assert!(injected.iter().all(|fault| fault["fault"] == "power-loss" || fault["fault"] == "heal"));
    let data = scratch.path().join("latest/nodes/n1/data");
    assert!(fs::read_dir(data).expect("it is kept").count() > 0, "the disks of a failed run are kept");
    assert!(scratch.path().join("latest/nodes/n1/disk.log").is_file());
}
