//! Clock faults on real clusters: runs stay valid, and a node with a fast clock loses patience.

mod common;

use common::{Scratch, harness, object, shown};

#[test]
fn the_papers_raft_is_valid_under_clock_faults() {
    let scratch = Scratch::new("clock");
    let faults = "clock-step:clock=both,clock-rate:clock=both,clock-freeze:clock=both,clock-strobe";
    let args = ["test", "--seed", "5", "--nodes", "3", "--time-limit", "16", "--faults", faults, "--json"];
    let output = harness(scratch.path(), &args).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let object = object(&output);
    for fault in object["faults"].as_array().expect("a list") {
        assert!(fault["installed"].as_u64() >= Some(1), "{fault}");
    }
}

/// An election timeout of a second passes between two heartbeats for who lives fifteen times as fast; without PreVote nobody
/// holds it back. There are too few operations to be taken for heartbeats.
#[test]
fn followers_with_fast_clocks_campaign_against_a_leader_that_is_well() {
    let scratch = Scratch::new("campaign");
    let faults = "clock-rate:followers:clock=monotonic:rate_percent=1500";
    let mut args = vec!["test", "--seed", "3", "--nodes", "3", "--time-limit", "8", "--faults", faults];
    args.extend(["--pre-vote", "off", "--heartbeat-ms", "300", "--rate", "2", "--json"]);
    let output = harness(scratch.path(), &args).output().expect("the harness starts");
    assert_ne!(output.status.code(), Some(1), "{}", shown(&output));
    let object = object(&output);
    assert!(object["leader_changes"].as_u64() >= Some(1), "{}", shown(&output));
}
