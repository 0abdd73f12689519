//! Two nodes do not see each other; every other link is whole.
//!
//! ```text
//!     a ── n1 ── b        n1 and n3 do not see each other; all others see everybody
//!      ╲        ╱
//!       ── n3 ──
//! ```
//!
//! With three nodes this is a chain with the target at one end: the outage of a large network in 2020, when a leader
//! and one follower lost each other while a third node saw both. Without PreVote the follower raises the term, the
//! leader is deposed, and the two ends take turns for hours. To cut everything but a middle node, see
//! [`partition_bridge`](super::partition_bridge).

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::IndexedRandom;

use super::hold::Link;
use super::shape::{Service, Shape, both_ways};
use crate::target::{Rng, Target};

/// Each target loses one other node.
pub(super) static PARTITION_CHAIN: Shape = Shape {
    name: "partition-chain",
    about: "the target and one other node do not see each other; everybody else sees both",
    targets: &[Target::Leader, Target::One],
    nodes_min: 3,
    service: Service::Majority,
    cuts,
};

fn cuts(nodes: &[NodeId], targets: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let rest = nodes.iter().filter(|node| !targets.contains(node)).collect::<Vec<_>>();
    let lost = targets.iter().filter_map(|&target| Some((target, **rest.choose(rng)?)));
    lost.flat_map(|(target, other)| both_ways(target, other)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shape::drawn_pairs;
    use super::*;

    #[test]
    fn three_nodes_make_a_chain_with_the_target_at_its_end() {
        let chains =
            (0..20).map(|seed| drawn_pairs(&PARTITION_CHAIN, 3, &[1], seed)).collect::<BTreeSet<_>>();
        assert_eq!(chains, BTreeSet::from(["n1-n2".to_owned(), "n1-n3".to_owned()]));
    }

    #[test]
    fn a_target_without_others_loses_nobody() {
        assert_eq!(drawn_pairs(&PARTITION_CHAIN, 3, &[1, 2, 3], 0), "");
    }
}
