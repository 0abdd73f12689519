//! Clusters of real processes: kills, restarts, and what is left of the data and the trace.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Output;

use cluster_under_test::raft::Role;
use cluster_under_test::trace::{Line, SnapshotOrigin, TraceEvent};
use serde_json::json;
use support::{Cluster, text, until};

fn boots(trace: &[Line]) -> Vec<&TraceEvent> {
    trace.iter().map(|line| &line.event).filter(|event| matches!(event, TraceEvent::Boot { .. })).collect()
}

/// What is true of the traces of every run: nodes applied the same entries to the same effect, and no term had
/// two leaders.
fn check_traces(cluster: &Cluster) {
    let mut applied = BTreeMap::new();
    let mut leaders = BTreeMap::new();
    for node in &cluster.nodes {
        let trace = node.trace();
        assert!(matches!(trace[0].event, TraceEvent::Boot { .. }), "a life begins with boot");
        assert!(trace.is_sorted_by_key(|line| line.at), "time does not go back");
        for line in trace {
            assert_eq!(line.node, node.id);
            match line.event {
                TraceEvent::Apply { index, entry_term, digest, state } => {
                    let seen = *applied.entry(index).or_insert((entry_term, digest, state));
                    assert_eq!(seen, (entry_term, digest, state), "n{} at index {index}", node.id);
                }
                TraceEvent::Restore { index, state } => {
                    if let Some((_, _, seen)) = applied.get(&index) {
                        assert_eq!(*seen, state, "n{} restores index {index}", node.id);
                    }
                }
                TraceEvent::Role { role: Role::Leader, term } => {
                    assert_eq!(*leaders.entry(term).or_insert(node.id), node.id, "leader of term {term}");
                }
                _ => {}
            }
        }
    }
    assert!(!applied.is_empty() && !leaders.is_empty());
}

fn end(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_cluster_survives_the_loss_of_its_leader() {
    let mut cluster = Cluster::boot("kill-leader", 3, &[]);
    for id in 1..=3 {
        cluster.node(id).put(&format!("k{id}"), &format!("v{id}"));
    }
    for node in &cluster.nodes {
        for id in 1..=3 {
            assert_eq!(node.get(&format!("k{id}")), Some(format!("v{id}")), "read through n{}", node.id);
        }
    }

    let old = cluster.leader();
    cluster.node(old).kill();
    let new = cluster.leader();
    assert_ne!(old, new);
    for id in cluster.others(old) {
        cluster.node(id).put("after", &format!("n{id}"));
        assert_eq!(cluster.node(id).get("after"), Some(format!("n{id}")));
        assert_eq!(cluster.node(id).get("k1"), Some("v1".into()));
    }

    cluster.node(old).start();
    let last = cluster.others(old)[1];
    assert_eq!(cluster.node(old).get("after"), Some(format!("n{last}")), "the old leader has caught up");
    check_traces(&cluster);
    assert_eq!(boots(&cluster.node(old).trace()).len(), 2);
}

#[test]
fn a_transaction_compares_and_sets_through_every_node() {
    let cluster = Cluster::boot("txn", 3, &[]);
    cluster.nodes[0].put("x", "0");
    for (i, node) in cluster.nodes.iter().enumerate() {
        let value = |number: usize| support::encode(&number.to_string());
        let key = support::encode("x");
        let body = json!({
            "compare": [{ "key": key, "target": "VALUE", "result": "EQUAL", "value": value(i) }],
            "success": [{ "request_put": { "key": key, "value": value(i + 1) } }],
            "failure": [{ "request_range": { "key": key } }],
        });
        let (code, answer) = node.post("/v3/kv/txn", &body).unwrap();
        assert_eq!((code, &answer["succeeded"]), (200, &json!(true)), "{answer}");
        let (code, answer) = node.post("/v3/kv/txn", &body).unwrap();
        assert_eq!((code, answer.get("succeeded")), (200, None), "{answer}");
        let seen = &answer["responses"][0]["response_range"]["kvs"][0]["value"];
        assert_eq!(text(seen.as_str().unwrap()), (i + 1).to_string());
    }
    check_traces(&cluster);
}

#[test]
fn what_was_acknowledged_survives_the_death_of_all_nodes() {
    let mut cluster = Cluster::boot("kill-all", 3, &[]);
    for i in 0..30 {
        cluster.node(1 + i % 3).put(&format!("k{i}"), &format!("v{i}"));
    }
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    for i in 0..30 {
        assert_eq!(cluster.node(1 + i % 3).get(&format!("k{i}")), Some(format!("v{i}")));
    }
    check_traces(&cluster);
}

#[test]
fn a_node_that_was_away_too_long_gets_a_snapshot() {
    let mut cluster = Cluster::boot("snapshot", 3, &["--snapshot-entries", "20"]);
    let away = cluster.others(cluster.leader())[0];
    cluster.node(away).kill();
    let present = cluster.others(away)[0];
    for i in 0..100 {
        cluster.node(present).put(&format!("k{}", i % 7), &format!("v{i}"));
    }
    cluster.node(away).start();
    assert_eq!(cluster.node(away).get("k1"), Some("v99".into()));
    let installed = until("a snapshot that was installed", || {
        cluster.node(away).trace().into_iter().find_map(|line| match line.event {
            TraceEvent::Snapshot { index, origin: SnapshotOrigin::Installed, .. } => Some(index),
            _ => None,
        })
    });
    assert!(installed >= 20);
    // Its own disk now begins with the snapshot.
    cluster.node(away).kill();
    cluster.node(away).start();
    assert_eq!(cluster.node(away).get("k2"), Some("v93".into()));
    check_traces(&cluster);
    let trace = cluster.node(away).trace();
    let Some(TraceEvent::Boot { snapshot_index, .. }) = boots(&trace).pop() else { unreachable!() };
    assert!(*snapshot_index >= installed);
}

#[test]
fn a_single_node_is_a_cluster_and_a_torn_tail_is_cut_and_told() {
    let mut cluster = Cluster::boot("torn", 1, &[]);
    cluster.node(1).put("k", "v");
    cluster.node(1).kill();
    let data = cluster.node(1).dir.join("data");
    let mut log =
        std::fs::OpenOptions::new().append(true).open(data.join("wal-0000000000000001.log")).unwrap();
    log.write_all(&[1, 2, 3, 4, 5]).unwrap();
    cluster.node(1).start();
    assert_eq!(cluster.node(1).get("k"), Some("v".into()));
    let trace = cluster.node(1).trace();
    let Some(TraceEvent::Boot { torn_bytes, .. }) = boots(&trace).pop() else { unreachable!() };
    assert_eq!(*torn_bytes, 5);
}

#[test]
fn sigterm_stops_a_node_cleanly() {
    let mut cluster = Cluster::boot("sigterm", 3, &[]);
    for node in &mut cluster.nodes {
        assert_eq!(node.terminate().code(), Some(0));
    }
}

#[test]
fn a_taken_address_is_named() {
    let cluster = Cluster::boot("taken", 1, &[]);
    let (code, message) = end(&cluster.nodes[0].command().output().unwrap());
    assert_eq!(code, Some(1));
    assert!(message.contains("error: failed to start n1: listen for peers on 127."), "{message}");
    assert!(message.contains("(EADDRINUSE)") && message.contains("help: "), "{message}");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let cluster = Cluster::boot("in-use", 1, &[]);
    let mut other = Cluster::start("in-use-other", 1, &[]);
    other.node(1).kill();
    let second = other.node(1).command_in(&cluster.nodes[0].dir.join("data")).output().unwrap();
    let (code, message) = end(&second);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("another node is running in this data directory"), "{message}");
}

#[test]
fn a_full_disk_ends_the_node_with_the_file_and_the_errno() {
    let mut cluster = Cluster::boot("full", 1, &[]);
    cluster.node(1).kill();
    let trace = cluster.node(1).dir.join("trace.jsonl");
    std::fs::remove_file(&trace).unwrap();
    std::os::unix::fs::symlink("/dev/full", &trace).unwrap();
    let (code, message) = end(&cluster.node(1).command().output().unwrap());
    assert_eq!(code, Some(74), "{message}");
    assert!(message.contains("trace.jsonl: no space left on device (ENOSPC)"), "{message}");
}

#[test]
fn a_failed_write_of_the_log_ends_the_node_and_loses_nothing_acknowledged() {
    let mut cluster = Cluster::boot("failed-write", 1, &[]);
    let node = cluster.node(1);
    node.put("small", "v");
    node.kill();
    // A limit on the size of files fails a write halfway, as a full disk does, and needs no disk of its own.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 100; trap '' XFSZ; exec \"$@\"", "sh"]);
    limited.arg(node.command().get_program()).args(node.command().get_args());
    node.start_as(limited);
    assert_eq!(node.get("small"), Some("v".into()));
    let body = json!({ "key": support::encode("large"), "value": support::encode(&"x".repeat(200_000)) });
    let answer = node.post("/v3/kv/put", &body);
    assert!(answer.is_none_or(|(_, answer)| answer["effect"] == "unknown"), "it cannot be acknowledged");
    assert_eq!(node.end().code(), Some(74), "{}", node.log());
    assert!(node.log().contains("wal-0000000000000001.log: file too large (EFBIG)"), "{}", node.log());
    node.start();
    assert_eq!(node.get("small"), Some("v".into()));
    assert_eq!(node.get("large"), None);
}
