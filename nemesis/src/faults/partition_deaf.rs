//! Cuts one direction: the targets hear nothing, and the others hear the targets.
//!
//! The other sense of [`partition_one_way`](super::partition_one_way). A deaf leader goes on sending heartbeats that
//! nobody's answers ever reach, so it can commit nothing; without CheckQuorum it leads for ever and keeps every other
//! node from campaigning. A deaf follower campaigns again and again, and the others hear it.

use super::shape::{Service, Shape, all_links, is_among};
use crate::target::Target;

/// Targets are heard and hear nothing.
pub(super) static PARTITION_DEAF: Shape = Shape {
    name: "partition-deaf",
    about: "the targets hear nothing from the other nodes, the others hear the targets",
    targets: &[Target::Leader, Target::One, Target::Minority],
    nodes_min: 2,
    service: Service::Uncertain,
    cuts: |nodes, targets, _| {
        all_links(nodes).filter(|link| !is_among(targets, link.from) && is_among(targets, link.to)).collect()
    },
};

#[cfg(test)]
mod tests {
    use super::super::partition_one_way::PARTITION_ONE_WAY;
    use super::super::shape::drawn;
    use super::*;

    #[test]
    fn only_what_the_targets_would_hear_is_lost() {
        assert_eq!(drawn(&PARTITION_DEAF, 3, &[2], 0), "n1→n2 n3→n2");
        assert_eq!(drawn(&PARTITION_DEAF, 4, &[1, 2], 0), "n3→n1 n3→n2 n4→n1 n4→n2");
    }

    #[test]
    fn mute_and_deaf_together_are_cut_off() {
        let both = [drawn(&PARTITION_ONE_WAY, 3, &[2], 0), drawn(&PARTITION_DEAF, 3, &[2], 0)].join(" ");
        assert_eq!(both, "n2→n1 n2→n3 n1→n2 n3→n2");
    }
}
