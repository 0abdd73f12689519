//! Planted bugs that need the shell to do harm, in clusters of real processes beside correct ones.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use cluster_under_test::trace::TraceEvent;
use serde_json::{Value, json};
use support::{Cluster, encode, until};

/// What a leader that has lost both followers and does not know it answers to a request.
fn asked_of_a_lonely_leader(name: &str, bug: Option<&str>, path: &str, body: &Value) -> u16 {
    let mut more = vec!["--check-quorum", "off", "--request-timeout-ms", "700"];
    more.extend(bug.into_iter().flat_map(|bug| ["--bug", bug]));
    let mut cluster = Cluster::boot(name, 3, &more);
    let leader = cluster.leader();
    cluster.node(leader).put("a", "1");
    for id in cluster.others(leader) {
        cluster.node(id).kill();
    }
    cluster.node(leader).post(path, body).unwrap().0
}

#[test]
fn ack_before_commit_acknowledges_what_no_other_node_has() {
    let put = json!({ "key": encode("a"), "value": encode("2") });
    let ask = |name, bug| asked_of_a_lonely_leader(name, bug, "/v3/kv/put", &put);
    assert_eq!(ask("ack-correct", None), 503);
    assert_eq!(ask("ack-bug", Some("ack-before-commit")), 200);
}

#[test]
fn stale_read_answers_without_asking_whether_it_still_leads() {
    let range = json!({ "key": encode("a") });
    let ask = |name, bug| asked_of_a_lonely_leader(name, bug, "/v3/kv/range", &range);
    assert_eq!(ask("read-correct", None), 503);
    assert_eq!(ask("read-bug", Some("stale-read")), 200);
}

#[test]
fn clock_in_apply_lets_states_diverge_that_clients_see_as_equal() {
    let cluster = Cluster::boot("diverge", 3, &["--bug", "clock-in-apply"]);
    cluster.nodes[0].put("a", "1");
    for node in &cluster.nodes {
        assert_eq!(node.get("a"), Some("1".into()));
    }
    let states = until("an entry that all nodes applied", || {
        let mut states: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for line in cluster.nodes.iter().flat_map(support::Node::trace) {
            if let TraceEvent::Apply { index, state, .. } = line.event {
                states.entry(index).or_default().push(state.0);
            }
        }
        states.into_values().rfind(|states| states.len() == 3)
    });
    assert_eq!(states.iter().collect::<BTreeSet<_>>().len(), 3, "three nodes, three states: {states:?}");
}
