//! Cuts one direction: the others hear nothing from the targets, and the targets hear everybody.
//!
//! With the leader as target its heartbeats are lost while it still hears that others campaign. Without PreVote
//! it is deposed, at once or at the heal; TCP sees a peer that never acknowledges.

use super::shape::{Service, Shape, all_links, is_among};
use crate::target::Target;

/// Targets speak into the void.
pub(super) static PARTITION_ONE_WAY: Shape = Shape {
    name: "partition-one-way",
    about: "the other nodes hear nothing from the targets, the targets hear everybody",
    targets: &[Target::Leader, Target::One, Target::Minority],
    nodes_min: 2,
    service: Service::Uncertain,
    cuts: |nodes, targets, _| {
        all_links(nodes).filter(|link| is_among(targets, link.from) && !is_among(targets, link.to)).collect()
    },
};

#[cfg(test)]
mod tests {
    use super::super::shape::drawn;
    use super::*;

    #[test]
    fn only_what_the_targets_say_is_lost() {
        assert_eq!(drawn(&PARTITION_ONE_WAY, 3, &[2], 0), "n2→n1 n2→n3");
        assert_eq!(drawn(&PARTITION_ONE_WAY, 4, &[1, 2], 0), "n1→n3 n1→n4 n2→n3 n2→n4");
    }
}
