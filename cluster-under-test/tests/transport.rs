//! Messages between nodes over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_under_test::raft::{Envelope, Message, NodeId};
use cluster_under_test::transport::{Membership, Transport};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio::time::{interval, timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// A listener for each node, and who they are together.
async fn cluster(nodes: NodeId) -> (Vec<TcpListener>, Vec<Membership>) {
    let mut listeners = Vec::new();
    let mut peers = BTreeMap::new();
    for id in 1..=nodes {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        peers.insert(id, listener.local_addr().unwrap());
        listeners.push(listener);
    }
    let founders: BTreeSet<NodeId> = (1..=nodes).collect();
    let member = |id| Membership { id, peers: peers.clone(), founders: founders.clone(), cluster: 7 };
    let members = (1..=nodes).map(member).collect();
    (listeners, members)
}

fn start(membership: &Membership, listener: TcpListener) -> (Transport, Receiver<Envelope>) {
    Transport::start(membership, listener, Duration::from_secs(1), Pcg64::seed_from_u64(membership.id))
}

fn message(from: NodeId, to: NodeId, term: u64) -> Envelope {
    Envelope { from, to, term, message: Message::VoteReply { granted: true } }
}

/// Sends until something arrives, as the protocol does.
async fn arrives(sender: &mut Transport, receiver: &mut Receiver<Envelope>, envelope: Envelope) -> Envelope {
    let mut again = interval(Duration::from_millis(20));
    let exchange = async {
        loop {
            tokio::select! {
                _ = again.tick() => sender.send(envelope.clone()),
                received = receiver.recv() => return received.unwrap(),
            }
        }
    };
    timeout(DEADLINE, exchange).await.expect("a message arrives")
}

#[tokio::test]
async fn messages_arrive_in_order_over_one_connection() {
    let (mut listeners, members) = cluster(2).await;
    let (_second, mut received) = start(&members[1], listeners.pop().unwrap());
    let (mut first, _) = start(&members[0], listeners.pop().unwrap());
    arrives(&mut first, &mut received, message(1, 2, 0)).await;
    for term in 1..=100 {
        first.send(message(1, 2, term));
    }
    let mut terms = Vec::new();
    while terms.len() < 100 {
        let envelope = timeout(DEADLINE, received.recv()).await.unwrap().unwrap();
        terms.extend(Some(envelope.term).filter(|term| *term > 0));
    }
    assert_eq!(terms, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let (mut listeners, members) = cluster(2).await;
    let address = members[1].peers[&2];
    let second = start(&members[1], listeners.pop().unwrap());
    let (mut first, _) = start(&members[0], listeners.pop().unwrap());
    let (transport, mut received) = second;
    arrives(&mut first, &mut received, message(1, 2, 1)).await;
    drop((transport, received));
    let listener = timeout(DEADLINE, async {
        loop {
            // The old listener goes with its task, at the runtime's next turn.
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let (_again, mut received) = start(&members[1], listener.await.unwrap());
    arrives(&mut first, &mut received, message(1, 2, 2)).await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_turned_away() {
    let (mut listeners, members) = cluster(3).await;
    let (_third, mut received) = start(&members[2], listeners.pop().unwrap());
    let stranger = Membership { cluster: 8, ..members[1].clone() };
    let (mut stranger, _) = start(&stranger, listeners.pop().unwrap());
    let (mut friend, _) = start(&members[0], listeners.pop().unwrap());
    for _ in 0..20 {
        stranger.send(message(2, 3, 9));
        let envelope = arrives(&mut friend, &mut received, message(1, 3, 1)).await;
        assert_eq!(envelope.from, 1);
    }
}

#[tokio::test]
async fn sending_to_a_peer_that_is_away_does_not_wait() {
    let (mut listeners, members) = cluster(2).await;
    drop(listeners.pop());
    let (mut first, _) = start(&members[0], listeners.pop().unwrap());
    for term in 0..10_000 {
        first.send(message(1, 2, term));
    }
}
