//! Every workload on real processes, and what the consistency that is asked for makes of one and the same cluster.

mod common;

use common::{Scratch, harness, object, shown};
use harness::workload::WORKLOADS;
use serde_json::Value as Json;

/// A run of three nodes, to which nothing is done unless that is asked for: its exit status and its findings.
fn run(name: &str, args: &[&str]) -> (i32, Json) {
    let scratch = Scratch::new(name);
    let usual = ["test", "--nodes", "3", "--seed", "1", "--json"];
    let calm = ["--faults", "none", "--time-limit", "2"];
    let calm = if args.contains(&"--faults") { &[][..] } else { &calm };
    let output =
        harness(scratch.path(), &[&usual, calm, args].concat()).output().expect("the harness starts");
    let status = output.status.code().unwrap_or_else(|| panic!("it was killed: {}", shown(&output)));
    assert!(status < 254, "{}", shown(&output));
    (status, object(&output))
}

fn verdict<'a>(object: &'a Json, checker: &str) -> &'a Json {
    let findings = object["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["checker"] == checker);
    &finding.unwrap_or_else(|| panic!("{checker} judges {object}"))["verdict"]
}

fn is_valid(workload: &str, checkers: &[&str]) {
    let (status, object) = run(workload, &["--workload", workload]);
    assert_eq!(status, 0, "{object}");
    for checker in checkers {
        assert_eq!(verdict(&object, checker), "valid", "{object}");
    }
}

#[test]
fn lists_are_judged_as_objects_and_by_what_depends_on_what() {
    is_valid("append", &["linearizable", "append"]);
}

#[test]
fn transactions_happen_one_at_a_time() {
    is_valid("txn", &["append"]);
}

#[test]
fn sets_keep_their_elements() {
    is_valid("set", &["linearizable"]);
}

#[test]
fn queues_keep_their_order() {
    is_valid("queue", &["linearizable"]);
}

#[test]
fn locks_let_one_in() {
    is_valid("lock", &["linearizable"]);
}

#[test]
fn counters_count_and_lose_what_was_answered_too_early() {
    is_valid("counter", &["linearizable"]);
    let (status, object) = run("counter-bug", &["--workload", "counter", "--bug", "ack-before-commit"]);
    assert_eq!((status, verdict(&object, "linearizable")), (1, &Json::from("invalid")), "{object}");
}

/// A leader that is cut off knows nothing of what the others commit under the next one, but it never goes back.
#[test]
fn serializable_reads_are_sequential_and_not_linearizable() {
    // Short timeouts, so that there is a next leader long before the partition ends.
    let reads = ["--reads", "serializable", "--heartbeat-ms", "30", "--election-ms", "300"];
    let reads = [&reads[..], &["--faults", "partition:leader", "--time-limit", "5"]].concat();
    let (status, object) = run("serializable", &reads);
    assert_eq!((status, verdict(&object, "linearizable")), (1, &Json::from("invalid")), "{object}");
    let (status, object) = run("sequential", &[&reads[..], &["--consistency", "sequential"]].concat());
    assert_eq!((status, verdict(&object, "sequential")), (0, &Json::from("valid")), "{object}");
}

#[test]
fn a_bound_on_age_is_refused_where_age_is_not_known() {
    let scratch = Scratch::new("aged");
    let args = ["test", "--workload", "set", "--consistency", "stale-ms=100"];
    let output = harness(scratch.path(), &args).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(254), "{}", shown(&output));
    assert!(shown(&output).contains("only known for registers"), "{}", shown(&output));
}

#[test]
fn the_readme_has_a_row_for_every_workload() {
    let readme = include_str!("../../README.md");
    for workload in WORKLOADS {
        let row = format!("| `{}` |", workload.name());
        let row = readme.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("README.md has no row for {}", workload.name()));
        for kind in workload.operation_kinds() {
            assert!(row.contains(kind.name()), "the row of {} does not name {kind}", workload.name());
        }
    }
}
