//! Two halves that only the targets join.
//!
//! ```text
//!     a ─┐       ┌─ c
//!     │  ├─ n3 ──┤  │        n3 is the target; a and b do not see c and d
//!     b ─┘       └─ d
//! ```
//!
//! With three nodes this is the chain a – n3 – c: the ends cannot see each other, and without PreVote they raise
//! the term in turn. Nodes beyond the targets are halved at random; with an odd number one half has one more.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::SliceRandom;

use super::hold::Link;
use super::shape::{Service, Shape, both_ways};
use crate::target::{Rng, Target};

/// The targets are the bridge.
pub(super) static PARTITION_BRIDGE: Shape = Shape {
    name: "partition-bridge",
    about: "two halves of the cluster see each other only through the targets",
    targets: &[Target::One, Target::Leader],
    nodes_min: 3,
    service: Service::Uncertain,
    cuts,
};

fn cuts(nodes: &[NodeId], targets: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let mut rest = nodes.iter().copied().filter(|node| !targets.contains(node)).collect::<Vec<_>>();
    rest.shuffle(rng);
    let (left, right) = rest.split_at(rest.len() / 2);
    let across = left.iter().flat_map(|&from| right.iter().map(move |&to| (from, to)));
    across.flat_map(|(from, to)| both_ways(from, to)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shape::drawn;
    use super::*;

    #[test]
    fn three_nodes_make_a_chain() {
        assert_eq!(drawn(&PARTITION_BRIDGE, 3, &[2], 0), "n1→n3 n3→n1");
    }

    #[test]
    fn five_nodes_make_two_pairs_that_share_the_bridge() {
        let nodes = (1..=5).map(NodeId).collect::<Vec<_>>();
        for seed in 0..20 {
            let cuts = cuts(&nodes, &[NodeId(4)], &mut Rng::new(seed, 0));
            assert_eq!(cuts.len(), 8, "two times two, both ways");
            assert!(cuts.iter().all(|link| link.from != NodeId(4).into() && link.to != NodeId(4).into()));
        }
    }

    #[test]
    fn a_bridge_of_all_nodes_joins_nothing() {
        assert_eq!(drawn(&PARTITION_BRIDGE, 3, &[1, 2, 3], 0), "");
    }
}
