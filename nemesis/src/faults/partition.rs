//! Cuts the targets off from all other nodes, in both directions.
//!
//! The targets still reach each other, so a minority as target makes two components. A leader cut off keeps its
//! clients: what it answers them, and what it has in its log when it returns, is where bugs live.

use super::shape::{Service, Shape, all_links, is_among};
use crate::target::Target;

/// Two components: the targets, and the rest.
pub(super) static PARTITION: Shape = Shape {
    name: "partition",
    about: "cut the targets off from all other nodes, both ways; clients reach everybody",
    targets: &[Target::Leader, Target::One, Target::Minority],
    nodes_min: 2,
    service: Service::Majority,
    cuts: |nodes, targets, _| {
        all_links(nodes).filter(|link| is_among(targets, link.from) != is_among(targets, link.to)).collect()
    },
};

#[cfg(test)]
mod tests {
    use super::super::shape::drawn;
    use super::*;

    #[test]
    fn one_node_loses_every_link_both_ways() {
        assert_eq!(drawn(&PARTITION, 3, &[2], 0), "n1→n2 n2→n1 n2→n3 n3→n2");
    }

    #[test]
    fn targets_keep_the_links_among_themselves() {
        assert_eq!(drawn(&PARTITION, 4, &[1, 2], 0), "n1→n3 n1→n4 n2→n3 n2→n4 n3→n1 n3→n2 n4→n1 n4→n2");
    }

    #[test]
    fn there_is_no_rest_to_cut_all_nodes_off_from() {
        assert_eq!(drawn(&PARTITION, 3, &[1, 2, 3], 0), "");
    }
}
