//! A core of three, and the rest behind one node or the other of it.
//!
//! ```text
//!     d ── b ── a ── c ── e        a, b, c see each other; d sees only b, e sees only c
//!           ╲_______╱
//! ```
//!
//! The nodes of the core see a majority, the others do not, and campaign because they do not hear a leader who is not
//! their hub. Without PreVote there is no stable leader; with it there is. Beyond five nodes more of them hang behind
//! `b` and `c` in turn; from eight on even those see no majority.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::SliceRandom;

use super::hold::Link;
use super::shape::{Service, Shape, all_links, both_ways};
use crate::target::{Rng, Target};

/// A hub. It hurts the whole cluster, whoever leads.
pub(super) static PARTITION_HUB: Shape = Shape {
    name: "partition-hub",
    about: "three nodes see each other, and every other node sees only one of two of them",
    targets: &[Target::All],
    nodes_min: 5,
    service: Service::Uncertain,
    cuts: |nodes, _, rng| cuts(nodes, rng),
};

fn cuts(nodes: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let mut order = nodes.to_vec();
    order.shuffle(rng);
    let (core, leaves) = order.split_at(3);
    let mut cuts = all_links(nodes).collect::<BTreeSet<_>>();
    let within_core = [(core[0], core[1]), (core[0], core[2]), (core[1], core[2])];
    let to_leaves = leaves.iter().copied().zip(core[1..].iter().copied().cycle());
    for link in within_core.into_iter().chain(to_leaves).flat_map(|(one, other)| both_ways(one, other)) {
        cuts.remove(&link);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_five_see_a_majority_and_two_see_one_node() {
        let nodes = (1..=5).map(NodeId).collect::<Vec<_>>();
        for seed in 0..20 {
            let cuts = cuts(&nodes, &mut Rng::new(seed, 0));
            assert!(cuts.iter().all(|link| cuts.contains(&link.reversed())));
            let sees =
                |node: NodeId| nodes.iter().filter(|&&other| !cuts.contains(&Link::new(node, other))).count();
            let mut seen = nodes.iter().map(|&node| sees(node)).collect::<Vec<_>>();
            seen.sort_unstable();
            // Itself included: the leaves and their hub, the core, the core and a leaf.
            assert_eq!(seen, [2, 2, 3, 4, 4]);
        }
    }
}
