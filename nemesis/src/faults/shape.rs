//! A partition is a shape: which links to cut, as a pure function of the nodes and targets.
//!
//! The shapes differ in nothing else but in what a correct system can still do, which each says. Clients reach every
//! node unless the shape is about them.

use std::collections::BTreeSet;

use checkers::history::{Evidence, NodeId, Receipt};

use super::hold::{Hold, Link};
use super::links;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::Cluster;
use crate::net::Endpoint;
use crate::target::{Rng, Target};

/// The group of all shapes that a cluster of three can have.
pub(super) const PARTITIONS: &str = "partitions";
const PARTITIONS_NODES: u16 = 3;

/// A fault that cuts links.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) targets: &'static [Target],
    pub(super) nodes_min: u16,
    pub(super) service: Service,
    /// The links to cut, from all nodes and the targets among them.
    pub(super) cuts: fn(&[NodeId], &[NodeId], &mut Rng) -> BTreeSet<Link>,
}

/// What a correct system still owes its clients while links are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Nodes that see a majority go on, after an election at most.
    Majority,
    /// It depends on the logs, on who leads and on PreVote and CheckQuorum whether somebody can lead. Long silence is
    /// lawful.
    Uncertain,
    /// Nobody can lead, whatever the system does.
    Nobody,
}

impl Service {
    /// In words, for a receipt.
    pub(super) fn owed(self) -> &'static str {
        match self {
            Self::Majority => "nodes that see a majority can go on",
            Self::Uncertain => "whether anybody can lead depends on logs and options; an outage is lawful",
            Self::Nobody => "nobody can lead; an outage is lawful",
        }
    }
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

    fn group(&self) -> Option<&'static str> {
        (self.nodes_min <= PARTITIONS_NODES).then_some(PARTITIONS)
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
        let mut receipt = links::cut(cluster, &cuts, hold)?;
        if !hold.cut.is_empty() {
            let seen = self.service.owed().to_owned();
            receipt.evidence.push(Evidence { source: "shape".to_owned(), node: None, seen });
        }
        Ok(receipt)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        links::restore(cluster, hold, others)
    }
}

/// How many nodes must be left out until the others all see each other: the node with most cuts goes first.
pub(super) fn beside_the_core(mut nodes: Vec<NodeId>, cuts: &BTreeSet<Link>) -> usize {
    let size = nodes.len();
    loop {
        let cuts_of = |node: NodeId| {
            let among = |link: &&Link| is_among(&nodes, link.from) && is_among(&nodes, link.to);
            cuts.iter()
                .filter(among)
                .filter(|link| link.from == node.into() || link.to == node.into())
                .count()
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
        .flat_map(|&from| nodes.iter().map(move |&to| (from, to)))
        .filter(|(from, to)| from != to)
        .map(|(from, to)| Link::new(from, to))
}

/// The links between these nodes and the clients, both ways.
pub(super) fn client_links(nodes: &[NodeId]) -> impl Iterator<Item = Link> {
    nodes.iter().flat_map(|&node| both_ways(node, Endpoint::Harness))
}

/// A link and its opposite.
pub(super) fn both_ways(one: impl Into<Endpoint>, other: impl Into<Endpoint>) -> [Link; 2] {
    let link = Link::new(one, other);
    [link, link.reversed()]
}

/// Whether one of the targets is at this end.
pub(super) fn is_among(targets: &[NodeId], end: Endpoint) -> bool {
    matches!(end, Endpoint::Node(node) if targets.contains(&node))
}

/// Cuts as text, for tests: `n1→n2 n1→n3`.
#[cfg(test)]
pub(super) fn drawn(shape: &Shape, size: u16, targets: &[u16], seed: u64) -> String {
    let nodes = (1..=size).map(NodeId).collect::<Vec<_>>();
    let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
    let cuts = (shape.cuts)(&nodes, &targets, &mut Rng::new(seed, 0));
    cuts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Both directions of every cut as one pair, for shapes that cut nothing one way: `n1-n2 n1-n3`.
#[cfg(test)]
pub(super) fn drawn_pairs(shape: &Shape, size: u16, targets: &[u16], seed: u64) -> String {
    let nodes = (1..=size).map(NodeId).collect::<Vec<_>>();
    let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
    let cuts = (shape.cuts)(&nodes, &targets, &mut Rng::new(seed, 0));
    assert!(cuts.iter().all(|link| cuts.contains(&link.reversed())), "{cuts:?}");
    let pairs =
        cuts.iter().filter(|link| link.from < link.to).map(|link| format!("{}-{}", link.from, link.to));
    pairs.collect::<Vec<_>>().join(" ")
}
