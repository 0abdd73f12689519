//! The JSON gateway, as `curl` sees it.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Node, encode, until};

/// Posts and expects success; the header is checked and taken off.
fn ok(node: &Node, path: &str, body: &Value) -> (i64, Value) {
    let (code, mut answer) = node.post(path, body).unwrap();
    assert_eq!(code, 200, "{answer}");
    let header = answer.as_object_mut().unwrap().remove("header").unwrap();
    assert_eq!(header["member_id"], node.id.to_string());
    assert!(header["cluster_id"].is_string() && header["raft_term"].is_string(), "{header}");
    (header["revision"].as_str().unwrap().parse().unwrap(), answer)
}

fn error(node: &Node, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = node.http("POST", path, body).unwrap();
    assert_eq!(answer["error"], answer["message"]);
    assert_eq!(answer["effect"], "none", "{answer}");
    (status, answer["message"].as_str().unwrap().to_owned())
}

#[test]
fn answers_are_those_of_etcd() {
    let cluster = Cluster::boot("etcd", 1, &[]);
    let node = &cluster.nodes[0];
    let (a, b, one, two) = (encode("a"), encode("b"), encode("1"), encode("2"));

    assert_eq!(ok(node, "/v3/kv/range", &json!({ "key": a })), (1, json!({})));
    assert_eq!(ok(node, "/v3/kv/put", &json!({ "key": a, "value": one })), (2, json!({})));
    let kv = json!({ "key": a, "create_revision": "2", "mod_revision": "2", "version": "1", "value": one });
    assert_eq!(ok(node, "/v3/kv/range", &json!({ "key": a })), (2, json!({ "kvs": [kv], "count": "1" })));
    let body = json!({ "key": a, "value": two, "prev_kv": true });
    assert_eq!(ok(node, "/v3/kv/put", &body), (3, json!({ "prev_kv": kv })));

    ok(node, "/v3/kv/put", &json!({ "key": b, "value": one }));
    let range = json!({ "key": a, "range_end": encode("z"), "limit": "1" });
    let (revision, answer) = ok(node, "/v3/kv/range", &range);
    assert_eq!((revision, &answer["count"], &answer["more"]), (4, &json!("2"), &json!(true)));
    assert_eq!(answer["kvs"][0]["version"], "2");
    let count = json!({ "key": a, "range_end": encode("\0"), "count_only": true });
    assert_eq!(ok(node, "/v3/kv/range", &count), (4, json!({ "count": "2" })));

    let body = json!({ "key": a, "range_end": encode("b") });
    assert_eq!(ok(node, "/v3/kv/deleterange", &body), (5, json!({ "deleted": "1" })));
    assert_eq!(ok(node, "/v3/kv/deleterange", &body), (5, json!({})), "nothing deleted, no new revision");

    let txn = json!({
        "compare": [{ "key": a, "target": "VERSION", "result": "EQUAL", "version": "0" }],
        "success": [{ "request_put": { "key": a, "value": one } }, { "request_range": { "key": a } }],
    });
    let (revision, answer) = ok(node, "/v3/kv/txn", &txn);
    assert_eq!((revision, &answer["succeeded"]), (6, &json!(true)));
    assert_eq!(answer["responses"][0], json!({ "response_put": { "header": { "revision": "6" } } }));
    assert_eq!(answer["responses"][1]["response_range"]["kvs"][0]["mod_revision"], "6");
    assert_eq!(ok(node, "/v3/kv/txn", &txn), (6, json!({})));

    let (_, status) = ok(node, "/v3/maintenance/status", &json!({}));
    assert_eq!((&status["leader"], &status["isLeader"]), (&json!("1"), &json!(true)));
    assert_eq!(status["raftIndex"], status["raftAppliedIndex"]);
    assert_eq!(node.http("GET", "/health", "").unwrap(), (200, json!({ "health": "true" })));
}

#[test]
fn bad_requests_are_named_and_have_no_effect() {
    let cluster = Cluster::boot("bad-requests", 1, &[]);
    let node = &cluster.nodes[0];
    assert_eq!(error(node, "/v3/kv/put", "{}"), (400, "key: etcdserver: key is not provided".into()));
    assert_eq!(error(node, "/v3/kv/put", r#"{"key":"*"}"#).0, 400);
    assert!(error(node, "/v3/kv/range", "{\"key\"").1.starts_with("not JSON: "));
    assert_eq!(
        error(node, "/v3/kv/put", r#"{"key":"YQ==","lease":"7"}"#).1,
        "lease: raft-kv does not support this field"
    );
    let huge = json!({ "key": encode("a"), "value": encode(&"x".repeat(2 << 20)) }).to_string();
    assert_eq!(error(node, "/v3/kv/put", &huge), (400, "etcdserver: request is too large".into()));
    assert_eq!(error(node, "/v3/lease/grant", "{}"), (404, "Not Found".into()));
    assert_eq!(error(node, "/health", ""), (405, "Method Not Allowed".into()));
    assert_eq!(ok(node, "/v3/kv/range", &json!({ "key": encode("a") })), (1, json!({})));
}

#[test]
fn without_a_quorum_an_error_says_what_is_known_of_the_effect() {
    let mut cluster =
        Cluster::boot("no-quorum", 3, &["--request-timeout-ms", "700", "--check-quorum", "off"]);
    let leader = cluster.leader();
    cluster.node(leader).put("a", "1");
    let others = cluster.others(leader);
    for &id in &others {
        cluster.node(id).kill();
    }
    let body = json!({ "key": encode("a"), "value": encode("2") });
    let (status, answer) = cluster.node(leader).post("/v3/kv/put", &body).unwrap();
    assert_eq!(
        (status, &answer["code"], &answer["effect"]),
        (503, &json!(14), &json!("unknown")),
        "{answer}"
    );
    assert_eq!(answer["message"], "etcdserver: request timed out");
    let (status, answer) = cluster.node(leader).post("/v3/kv/range", &json!({ "key": encode("a") })).unwrap();
    assert_eq!((status, &answer["effect"]), (503, &json!("none")), "{answer}");
    let local = json!({ "key": encode("a"), "serializable": true });
    let (_, answer) = ok(cluster.node(leader), "/v3/kv/range", &local);
    assert_eq!(answer["kvs"][0]["value"], encode("1"));

    // The put that timed out is in the leader's log, and comes true when the others return.
    for &id in &others {
        cluster.node(id).start();
    }
    until("the put that timed out", || cluster.node(others[0]).get("a").filter(|value| value == "2"));
}

#[test]
fn a_node_that_knows_no_leader_turns_requests_away() {
    let mut cluster = Cluster::start("no-leader", 3, &[]);
    cluster.node(2).kill();
    cluster.node(3).kill();
    let node = &cluster.nodes[0];
    until("a node that knows no leader", || node.status().filter(|status| status.get("leader").is_none()));
    for (path, body) in [
        ("/v3/kv/put", json!({ "key": encode("a"), "value": encode("1") })),
        ("/v3/kv/range", json!({ "key": encode("a") })),
    ] {
        let (status, answer) = node.post(path, &body).unwrap();
        let expected = (503, &json!(14), &json!("none"));
        assert_eq!((status, &answer["code"], &answer["effect"]), expected, "{answer}");
        assert_eq!(answer["message"], "raft-kv: request rejected: no leader");
    }
    assert_eq!(node.http("GET", "/health", "").unwrap(), (503, json!({ "health": "false" })));
}
