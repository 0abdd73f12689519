//! A partition is a shape: which links to cut, as a pure function of the nodes and targets.
//!
//! The shapes differ in nothing else. Clients reach every node in all of them.

use std::collections::BTreeSet;

use checkers::history::{NodeId, Receipt};

use super::hold::{Hold, Link};
use super::links;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::Cluster;
use crate::target::{Rng, Target};

/// A fault that cuts links.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) targets: &'static [Target],
    pub(super) nodes_min: u16,
    /// The links to cut, from all nodes and the targets among them.
    pub(super) cuts: fn(&[NodeId], &[NodeId], &mut Rng) -> BTreeSet<Link>,
}

impl Fault for Shape {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn needs(&self) -> Needs {
        Needs::Links
    }

    fn targets(&self) -> &'static [Target] {
        self.targets
    }

    fn nodes_min(&self) -> u16 {
        self.nodes_min
    }

    fn hurts(&self, size: usize, targets: usize) -> usize {
        let nodes = (1..=u16::try_from(size).expect("clusters are small")).map(NodeId).collect::<Vec<_>>();
        // Where chance has a part in the shape, any drawing of it cuts as much.
        let cuts = (self.cuts)(&nodes, &nodes[..targets.min(size)], &mut Rng::new(0, 0));
        beside_the_core(nodes, &cuts)
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let nodes = cluster.nodes();
        let cuts = (self.cuts)(&nodes, aim.targets, rng);
        links::cut(cluster, &cuts, hold)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        links::restore(cluster, hold, others)
    }
}

/// How many nodes must be left out until the others all see each other: the node with most cuts goes first.
fn beside_the_core(mut nodes: Vec<NodeId>, cuts: &BTreeSet<Link>) -> usize {
    let size = nodes.len();
    loop {
        let cuts_of = |node: NodeId| {
            let among = |link: &&Link| nodes.contains(&link.from) && nodes.contains(&link.to);
            cuts.iter().filter(among).filter(|link| link.from == node || link.to == node).count()
        };
        match nodes.iter().map(|&node| (cuts_of(node), node)).max() {
            Some((1.., worst)) => nodes.retain(|&node| node != worst),
            _ => return size - nodes.len(),
        }
    }
}

/// Every directed link among the nodes, in order.
pub(super) fn all_links(nodes: &[NodeId]) -> impl Iterator<Item = Link> {
    nodes
        .iter()
        .flat_map(|&from| nodes.iter().map(move |&to| Link { from, to }))
        .filter(|link| link.from != link.to)
}

/// Cuts as text, for tests: `n1→n2 n1→n3`.
#[cfg(test)]
pub(super) fn drawn(shape: &Shape, size: u16, targets: &[u16], seed: u64) -> String {
    let nodes = (1..=size).map(NodeId).collect::<Vec<_>>();
    let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
    let cuts = (shape.cuts)(&nodes, &targets, &mut Rng::new(seed, 0));
    cuts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
