//! Members and leadership of clusters of real processes.

mod support;

use cluster_under_test::trace::TraceEvent;
use serde_json::{Value, json};
use support::{Cluster, Node, encode, until};

const ADD: &str = "/v3/cluster/member/add";
const PROMOTE: &str = "/v3/cluster/member/promote";
const REMOVE: &str = "/v3/cluster/member/remove";
const LIST: &str = "/v3/cluster/member/list";
const TRANSFER: &str = "/v3/maintenance/transfer-leadership";

/// Members as `n1 n2 (n3)`, those without a vote in parentheses.
fn members(node: &Node) -> String {
    let (status, answer) = node.post(LIST, &json!({})).unwrap();
    assert_eq!(status, 200, "{answer}");
    let show = |member: &Value| {
        assert!(member["peerURLs"][0].as_str().unwrap().starts_with("http://127."), "{member}");
        let name = member["name"].as_str().unwrap();
        assert_eq!(name, format!("n{}", member["ID"].as_str().unwrap()));
        if member["isLearner"] == true { format!("({name})") } else { name.to_owned() }
    };
    answer["members"].as_array().unwrap().iter().map(show).collect::<Vec<_>>().join(" ")
}

/// Asks until it is done: a leader may have to commit first, a learner to catch up.
fn change(node: &Node, path: &str, body: &Value, done: &str) {
    until(done, || {
        let answer = node.post(path, body);
        (members(node) == done).then_some(()).or_else(|| {
            eprintln!("n{} {path}: {answer:?}", node.id);
            None
        })
    });
}

fn refused(node: &Node, path: &str, body: &Value) -> String {
    let (status, answer) = node.post(path, body).unwrap();
    assert_ne!(status, 200, "{answer}");
    assert_eq!(answer["effect"], "none", "{answer}");
    answer["message"].as_str().unwrap().to_owned()
}

/// Whom a request names by its address: n4 is in everybody's `--peers`.
fn url(cluster: &Cluster, id: u64) -> Value {
    json!({ "peerURLs": [format!("http://{}", cluster.peer(id))], "isLearner": true })
}

#[test]
fn a_node_joins_gets_a_vote_and_replaces_another() {
    let mut cluster = Cluster::boot("join", 4, &["--founders", "1,2,3"]);
    cluster.node(1).put("a", "1");
    assert_eq!(members(&cluster.nodes[3]), "n1 n2 n3", "a node that joins knows the founders");
    let asked = cluster.others(4).into_iter().find(|id| *id != cluster.leader()).unwrap();
    let add = url(&cluster, 4);
    change(cluster.node(asked), ADD, &add, "n1 n2 n3 (n4)");
    assert_eq!(refused(cluster.node(asked), ADD, &add), "etcdserver: member ID already exist");
    change(cluster.node(asked), PROMOTE, &json!({ "ID": "4" }), "n1 n2 n3 n4");
    assert_eq!(
        refused(cluster.node(asked), PROMOTE, &json!({ "ID": "4" })),
        "etcdserver: can only promote a learner member"
    );
    assert_eq!(cluster.node(4).get("a"), Some("1".into()));

    let leader = cluster.leader();
    let gone = cluster.others(leader).into_iter().find(|id| *id != 4).unwrap();
    let left: Vec<String> = cluster.others(gone).iter().map(|id| format!("n{id}")).collect();
    change(cluster.node(leader), REMOVE, &json!({ "ID": gone.to_string() }), &left.join(" "));
    assert_eq!(
        refused(cluster.node(leader), REMOVE, &json!({ "ID": gone.to_string() })),
        "etcdserver: member not found"
    );

    // The configuration survives the loss of every process.
    for id in 1..=4 {
        cluster.node(id).kill();
    }
    for id in 1..=4 {
        cluster.node(id).start();
    }
    let status = |node: &Node| until("a status", || node.status());
    until("a leader after the restart", || {
        cluster.nodes.iter().any(|node| status(node)["isLeader"] == true).then_some(())
    });
    assert_eq!(members(cluster.node(4)), left.join(" "));
    assert_eq!(status(cluster.node(4))["voters"].as_array().unwrap().len(), 3);
    cluster.node(4).put("a", "2");
    let trace = cluster.node(gone).trace();
    assert!(trace.iter().any(|line| matches!(&line.event, TraceEvent::Members { index: 0, .. })));
}

#[test]
fn leadership_is_handed_over_within_an_election_timeout_and_nothing_is_lost() {
    let mut cluster = Cluster::boot("transfer", 3, &[]);
    cluster.node(1).put("a", "1");
    let leader = cluster.leader();
    let [to, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    let target = json!({ "targetID": to.to_string() });
    assert_eq!(refused(cluster.node(other), TRANSFER, &target), "etcdserver: not leader");
    assert_eq!(
        refused(cluster.node(leader), TRANSFER, &json!({ "targetID": "9" })),
        "etcdserver: bad leader transferee"
    );
    until("a transfer", || match cluster.node(leader).post(TRANSFER, &target) {
        Some((200, _)) => Some(()),
        _ => (cluster.leader() == to).then_some(()),
    });
    assert_eq!(cluster.leader(), to);
    assert_eq!(cluster.node(leader).get("a"), Some("1".into()));
}

#[test]
fn a_wiped_node_joins_again_under_its_old_number() {
    let mut cluster = Cluster::boot("wipe", 3, &[]);
    cluster.node(1).put("a", "1");
    let leader = cluster.leader();
    let wiped = cluster.others(leader)[0];
    let left: Vec<String> = cluster.others(wiped).iter().map(|id| format!("n{id}")).collect();
    let id = json!({ "ID": wiped.to_string() });
    change(cluster.node(leader), REMOVE, &id, &left.join(" "));
    cluster.node(wiped).kill();
    std::fs::remove_dir_all(cluster.node(wiped).dir.join("data")).unwrap();
    let mut command = cluster.node(wiped).command();
    command.arg("--join");
    cluster.node(wiped).start_as(command);
    let add = url(&cluster, wiped);
    let with = |shown: &str| {
        let mut all: Vec<String> = left.iter().cloned().chain([shown.to_owned()]).collect();
        all.sort_by_key(|name| name.trim_matches(['(', ')']).to_owned());
        all.join(" ")
    };
    change(cluster.node(leader), ADD, &add, &with(&format!("(n{wiped})")));
    change(cluster.node(leader), PROMOTE, &id, &with(&format!("n{wiped}")));
    assert_eq!(cluster.node(wiped).get("a"), Some("1".into()));
}

#[test]
fn a_lease_serves_reads_and_the_trace_tells_its_age() {
    let mut cluster = Cluster::boot("lease", 3, &["--reads", "lease"]);
    cluster.node(1).put("a", "1");
    until("a read by a lease", || {
        let leader = cluster.leader();
        assert_eq!(cluster.node(leader).get("a"), Some("1".into()));
        let ages: Vec<u64> = cluster
            .node(leader)
            .trace()
            .iter()
            .filter_map(|line| match line.event {
                TraceEvent::Read { lease_age_ms, .. } => lease_age_ms,
                _ => None,
            })
            .collect();
        assert!(ages.iter().all(|&age| age < 261), "0.9 of 290 ms: {ages:?}");
        ages.first().copied()
    });
    // A leader that nobody answers any more has no lease for long.
    let leader = cluster.leader();
    for id in cluster.others(leader) {
        cluster.node(id).kill();
    }
    let body = json!({ "key": encode("a") });
    until("the end of the lease", || {
        let (status, _) = cluster.node(leader).post("/v3/kv/range", &body)?;
        (status != 200).then_some(())
    });
}
