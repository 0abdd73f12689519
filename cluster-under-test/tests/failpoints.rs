//! Nodes of real processes that die at chosen points, and what they find when they start again.

mod support;

use cluster_under_test::failpoint::{EXIT_FAILPOINT, FAILPOINTS, Failpoint};
use cluster_under_test::trace::TraceEvent;
use serde_json::json;
use support::{Cluster, encode, until};

/// What makes a follower or the leader come by a point.
enum Victim {
    Leader,
    Follower,
    /// Of a node that is down while a snapshot is taken without it.
    Laggard,
    /// Of a node that is told to start.
    Restarted,
    /// Of one that gets a vote asked for, or wins it.
    Voter,
}

fn victim(point: &Failpoint) -> Victim {
    match point.name {
        "after-recovery" => Victim::Restarted,
        "before-append-reply" => Victim::Follower,
        "before-snapshot-install" => Victim::Laggard,
        "before-vote-reply" | "after-leader-elected" => Victim::Voter,
        _ => Victim::Leader,
    }
}

/// Lets a node die at the point, checks how it died, starts it again, and checks that nothing acknowledged is lost.
fn dies_at(point: &Failpoint) {
    let name = format!("at-{}", point.name);
    let mut cluster = Cluster::boot(&name, 3, &["--snapshot-entries", "20"]);
    for number in 0..5 {
        cluster.node(1).put("kept", &number.to_string());
    }
    let leader = cluster.leader();
    let [first, second] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    let armed = format!("{}=crash\n", point.name);
    let died = match victim(point) {
        Victim::Leader => {
            // Whoever leads by then: a transfer may succeed before the old leader sees what is armed.
            for id in 1..=3 {
                cluster.node(id).arm(&armed);
            }
            let put = json!({ "key": encode("other"), "value": encode("1") });
            let member =
                json!({ "ID": first.to_string(), "peerURLs": [format!("http://{}", cluster.peer(first))] });
            until("the point", || {
                for node in &cluster.nodes {
                    // The answers do not matter; one of these comes by every point of a leader.
                    node.post("/v3/kv/put", &put);
                    if point.name == "before-timeout-now" {
                        let target = json!({ "targetID": (node.id % 3 + 1).to_string() });
                        node.post("/v3/maintenance/transfer-leadership", &target);
                    }
                    if point.name == "after-members-appended" {
                        node.post("/v3/cluster/member/remove", &json!({ "ID": first.to_string() }));
                        node.post("/v3/cluster/member/add", &member);
                    }
                }
                (1..=3).find(|&id| !cluster.node(id).is_running())
            })
        }
        Victim::Follower => {
            cluster.node(first).arm(&armed);
            // It sees what is armed with its next tick, which may be after the first of these.
            until("the point", || {
                cluster.node(leader).put("other", "1");
                (!cluster.node(first).is_running()).then_some(first)
            })
        }
        Victim::Laggard => {
            cluster.node(first).kill();
            for number in 0..60 {
                cluster.node(leader).put("other", &number.to_string());
            }
            cluster.node(first).arm(&armed);
            cluster.node(first).start();
            first
        }
        Victim::Restarted => {
            cluster.node(first).kill();
            cluster.node(first).arm(&armed);
            cluster.node(first).start();
            first
        }
        Victim::Voter => {
            cluster.node(first).arm(&armed);
            cluster.node(second).arm(&armed);
            cluster.node(leader).kill();
            let died =
                until("the point", || [first, second].into_iter().find(|&id| !cluster.node(id).is_running()));
            cluster.node(leader).arm("");
            cluster.node(leader).start();
            died
        }
    };
    let ended = cluster.node(died).end();
    assert_eq!(ended.code(), Some(EXIT_FAILPOINT), "{}", point.name);
    assert!(cluster.node(died).log().contains(&format!("failpoint {}: crash", point.name)));
    let told = |event: &TraceEvent| matches!(event, TraceEvent::Failpoint { name } if name == point.name);
    assert!(cluster.node(died).trace().iter().any(|line| told(&line.event)), "{}", point.name);

    for id in 1..=3 {
        cluster.node(id).arm("");
    }
    cluster.node(died).start();
    until("what was acknowledged", || {
        // Others may have died at the same point, or do so before they see that it is not armed any more.
        for id in 1..=3 {
            if !cluster.node(id).is_running() {
                cluster.node(id).end();
                cluster.node(id).start();
            }
        }
        let (status, answer) = cluster.node(died).post("/v3/kv/range", &json!({ "key": encode("kept") }))?;
        if status != 200 {
            return None;
        }
        assert_eq!(answer["kvs"][0]["value"], encode("4"), "{}", point.name);
        Some(())
    });
}

#[test]
fn a_node_dies_at_every_failpoint_and_loses_nothing() {
    for point in FAILPOINTS {
        dies_at(point);
    }
}
