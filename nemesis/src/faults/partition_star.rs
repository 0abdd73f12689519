//! Every node sees one of the followers, and nobody else: the leader loses its quorum.
//!
//! ```text
//!         d
//!         │
//!     b ─ a ─ c        only a sees a majority; the target c led and does not
//!         │
//!         e
//! ```
//!
//! Only `a` can win an election, and `a` still hears the old leader's heartbeats. Without CheckQuorum the old leader
//! never steps down and `a` never campaigns: nobody commits anything until the heal, and that is lawful. With it, `a`
//! is elected in the end. Of three nodes the target and the centre are a majority, and the leader stays.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use rand::seq::IndexedRandom;

use super::hold::Link;
use super::shape::{Service, Shape, all_links};
use crate::net::Endpoint;
use crate::target::{Rng, Target};

/// A star whose centre is not the target.
pub(super) static PARTITION_STAR: Shape = Shape {
    name: "partition-star",
    about: "all nodes see one node that is not the target, and nobody else",
    targets: &[Target::Leader, Target::One],
    nodes_min: 3,
    service: Service::Uncertain,
    cuts,
};

fn cuts(nodes: &[NodeId], targets: &[NodeId], rng: &mut Rng) -> BTreeSet<Link> {
    let rest = nodes.iter().filter(|node| !targets.contains(node)).collect::<Vec<_>>();
    let Some(&&centre) = rest.choose(rng) else { return BTreeSet::new() };
    let centre = Endpoint::Node(centre);
    all_links(nodes).filter(|link| link.from != centre && link.to != centre).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shape::drawn_pairs;
    use super::*;

    #[test]
    fn all_see_the_centre_and_the_target_is_never_it() {
        let stars = (0..40).map(|seed| drawn_pairs(&PARTITION_STAR, 4, &[1], seed)).collect::<BTreeSet<_>>();
        let expected = ["n1-n2 n1-n3 n2-n3", "n1-n2 n1-n4 n2-n4", "n1-n3 n1-n4 n3-n4"];
        assert_eq!(stars, expected.map(str::to_owned).into());
    }
}
