//! The targets alone in the world: cut off from all other nodes and from clients, both ways.
//!
//! They see each other. What clients sent them before is in their logs and nowhere else; nobody hears what they answer
//! until the heal, when late answers and an uncommitted tail come back together.

use super::shape::{Service, Shape, all_links, client_links, is_among};
use crate::target::Target;

/// An island.
pub(super) static PARTITION_ISLAND: Shape = Shape {
    name: "partition-island",
    about: "cut the targets off from all other nodes and from clients, both ways",
    targets: &[Target::Leader, Target::One, Target::Minority],
    nodes_min: 2,
    service: Service::Majority,
    cuts: |nodes, targets, _| {
        let shore =
            all_links(nodes).filter(|link| is_among(targets, link.from) != is_among(targets, link.to));
        shore.chain(client_links(targets)).collect()
    },
};

#[cfg(test)]
mod tests {
    use super::super::shape::drawn_pairs;
    use super::*;

    #[test]
    fn nobody_reaches_the_island() {
        assert_eq!(
            drawn_pairs(&PARTITION_ISLAND, 4, &[1, 2], 0),
            "n1-n3 n1-n4 n1-harness n2-n3 n2-n4 n2-harness"
        );
    }
}
