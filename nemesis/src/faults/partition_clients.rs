//! Clients do not reach the targets; the nodes see each other as ever.
//!
//! A leader that no client reaches goes on leading: the other nodes have to send clients' requests to it, or say who
//! leads, and nobody may take the silence for a death. Only the way of the clients is cut. Who leads is observed from
//! traces or from inside the node's own network, which no link takes part in.

use super::shape::{Service, Shape, client_links};
use crate::target::Target;

/// Targets without clients.
pub(super) static PARTITION_CLIENTS: Shape = Shape {
    name: "partition-clients",
    about: "cut the targets off from clients, both ways; all nodes see each other",
    targets: &[Target::Leader, Target::One],
    nodes_min: 1,
    service: Service::Majority,
    cuts: |_, targets, _| client_links(targets).collect(),
};

#[cfg(test)]
mod tests {
    use super::super::shape::drawn;
    use super::*;

    #[test]
    fn only_links_with_clients_are_cut() {
        assert_eq!(drawn(&PARTITION_CLIENTS, 3, &[2], 0), "n2→harness harness→n2");
    }
}
