//! Every node hears a majority, and no two nodes hear the same one.
//!
//! The nodes stand in a ring of random order, and each hears, itself included, a window of ⌊n/2⌋ + 1 neighbours:
//!
//! ```text
//! n = 5, window 3: the node and one neighbour on each side.      n = 3, window 2: the node and its predecessor.
//!
//!       a ── b                                                        a ──▶ b
//!      ╱      ╲        a and c, b and d, … cut both ways              ▲     │
//!     e        c       10 of 20 directed links                        └─ c ◀┘
//!      ╲      ╱
//!         d
//! ```
//!
//! Where the window is odd (n = 4, 5, 8, 9, …) it is centred, and every cut is both ways. Where it is even (n = 3,
//! 6, 7, 10, …) it reaches one farther back than ahead, and the farthest neighbour is heard but does not hear. At
//! n = 3 no two nodes have each other's ear: no leader can stay, which is lawful.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::SliceRandom;

use super::hold::Link;
use super::shape::{Service, Shape, all_links};
use crate::target::{Rng, Target};

/// A ring of majorities. It hurts the whole cluster, whoever leads.
pub(super) static PARTITION_RING: Shape = Shape {
    name: "partition-ring",
    about: "every node hears a majority, and no two nodes hear the same one",
    targets: &[Target::All],
    nodes_min: 3,
    service: Service::Uncertain,
    cuts: |nodes, _, rng| cuts(nodes, rng),
};

fn cuts(nodes: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let mut ring = nodes.to_vec();
    ring.shuffle(rng);
    let window = ring.len() / 2 + 1;
    let behind = window / 2;
    let mut cuts = all_links(nodes).collect::<BTreeSet<_>>();
    for (at, &to) in ring.iter().enumerate() {
        // The window begins `behind` places before the node; the ring closes, so count from one turn earlier.
        for offset in 0..window {
            let from = ring[(at + ring.len() - behind + offset) % ring.len()];
            cuts.remove(&Link::new(from, to));
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn heard(size: u16, seed: u64) -> Vec<BTreeSet<NodeId>> {
        let nodes = (1..=size).map(NodeId).collect::<Vec<_>>();
        let cuts = cuts(&nodes, &mut Rng::new(seed, 0));
        nodes
            .iter()
            .map(|&to| nodes.iter().copied().filter(|&from| !cuts.contains(&Link::new(from, to))).collect())
            .collect()
    }

    #[test]
    fn every_node_hears_another_majority() {
        for size in 3..=9 {
            for seed in 0..20 {
                let heard = heard(size, seed);
                for (node, sees) in (1..).map(NodeId).zip(&heard) {
                    assert!(sees.contains(&node));
                    assert_eq!(sees.len(), usize::from(size) / 2 + 1, "{node} of {size} sees {sees:?}");
                }
                let distinct = heard.iter().collect::<BTreeSet<_>>();
                assert_eq!(distinct.len(), heard.len(), "{heard:?}");
            }
        }
    }

    #[test]
    fn five_nodes_are_cut_both_ways() {
        let nodes = (1..=5).map(NodeId).collect::<Vec<_>>();
        let cuts = cuts(&nodes, &mut Rng::new(1, 0));
        assert_eq!(cuts.len(), 10);
        assert!(cuts.iter().all(|link| cuts.contains(&link.reversed())));
    }

    #[test]
    fn three_nodes_each_hear_their_predecessor() {
        let nodes = (1..=3).map(NodeId).collect::<Vec<_>>();
        let cuts = cuts(&nodes, &mut Rng::new(1, 0));
        assert_eq!(cuts.len(), 3);
        assert!(cuts.iter().all(|link| !cuts.contains(&link.reversed())));
    }
}
