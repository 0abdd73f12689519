//! Two halves without a majority in either.
//!
//! With an odd number of nodes the one that would tip the scales is alone: five make 2 + 2 + 1. Nobody can lead, so
//! nothing is committed until the heal, and whoever acknowledges a write or serves a linearizable read meanwhile is
//! wrong.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::SliceRandom;

use super::hold::Link;
use super::shape::{Service, Shape, both_ways};
use crate::target::{Rng, Target};

/// Equal halves. It hurts the whole cluster, whoever leads.
pub(super) static PARTITION_HALVES: Shape = Shape {
    name: "partition-halves",
    about: "two halves of equal size do not see each other, an odd node sees nobody: no majority anywhere",
    targets: &[Target::All],
    nodes_min: 2,
    service: Service::Nobody,
    cuts: |nodes, _, rng| cuts(nodes, rng),
};

fn cuts(nodes: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let mut order = nodes.to_vec();
    order.shuffle(rng);
    let half = order.len() / 2;
    let side = |place: usize| place / half;
    let places = (0..order.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let apart = places.filter(|&(one, other)| side(one) != side(other));
    apart.flat_map(|(one, other)| both_ways(order[one], order[other])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_majority() {
        for size in 2..=8 {
            let nodes = (1..=size).map(NodeId).collect::<Vec<_>>();
            for seed in 0..10 {
                let cuts = cuts(&nodes, &mut Rng::new(seed, 0));
                for &node in &nodes {
                    let seen = nodes.iter().filter(|&&other| !cuts.contains(&Link::new(node, other))).count();
                    assert!(2 * seen <= nodes.len(), "{node} of {size} sees {seen}");
                }
            }
        }
    }

    #[test]
    fn four_nodes_make_two_pairs() {
        let nodes = (1..=4).map(NodeId).collect::<Vec<_>>();
        assert_eq!(cuts(&nodes, &mut Rng::new(1, 0)).len(), 8);
    }
}
