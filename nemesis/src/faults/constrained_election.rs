//! The one node that sees a majority is the one that may not lead: its log is behind.
//!
//! ```text
//!   first     a alone; the leader c and the rest commit what a never hears of
//!   then          d
//!                 │
//!             b ─ a ─ e      c alone, and the rest see only a
//! ```
//!
//! Everybody but `a` lacks a quorum, and `a` lacks entries that were committed, so the others refuse their votes: a
//! correct Raft stands still until the heal, with or without PreVote and CheckQuorum. A system that elects `a` loses
//! acknowledged writes. Of three nodes the third can be elected, with `a`'s vote. If nothing was committed while `a` was away, it may lawfully win.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use checkers::history::{Evidence, NodeId, Outcome, Receipt};
use rand::seq::IndexedRandom;

use super::hold::{Hold, Link};
use super::shape::{PARTITIONS, Service, all_links, beside_the_core, is_among};
use super::{Aim, Fault, FaultError, Needs, links};
use crate::cluster::Cluster;
use crate::knobs::{Knob, Range};
use crate::target::{Rng, Target};

/// Two cuts, one after the other.
pub(super) struct ConstrainedElection;

/// What is cut first, and what in the end.
struct Plan {
    first: BTreeSet<Link>,
    then: BTreeSet<Link>,
}

const KNOBS: &[Knob] = &[Knob {
    name: "lag_ms",
    about: "how long the one node is away while the others commit",
    range: Range::Number { min: 0, max: 10_000, usual: &[300, 600] },
}];

impl Fault for ConstrainedElection {
    fn name(&self) -> &'static str {
        "constrained-election"
    }

    fn about(&self) -> &'static str {
        "the target is alone, and the only node that sees a majority lacks what was committed just before"
    }

    fn needs(&self) -> Needs {
        Needs::Links
    }

    fn targets(&self) -> &'static [Target] {
        &[Target::Leader, Target::One]
    }

    fn nodes_min(&self) -> u16 {
        3
    }

    fn hurts(&self, size: usize, targets: usize) -> usize {
        let nodes = (1..=u16::try_from(size).expect("clusters are small")).map(NodeId).collect::<Vec<_>>();
        let plan = plan(&nodes, &nodes[..targets.min(size)], &mut Rng::new(0, 0));
        beside_the_core(nodes, &plan.then)
    }

    fn group(&self) -> Option<&'static str> {
        Some(PARTITIONS)
    }

    fn knobs(&self) -> &'static [Knob] {
        KNOBS
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let Plan { first, then } = plan(&cluster.nodes(), aim.targets, rng);
        // What another fault has cut already is not ours to open.
        let links = cluster.links().ok_or(FaultError::NoSwitch)?;
        let opens =
            first.difference(&then).copied().filter(|&link| !links.rule(link).block).collect::<Vec<_>>();
        let away = links::cut(cluster, &first, hold)?;
        let lag_ms = u64::try_from(aim.knobs.number("lag_ms")).expect("knobs are within their range");
        // Not waiting for a condition: this is how long the others have for what the one node shall miss.
        thread::sleep(Duration::from_millis(lag_ms));
        // The last links are cut before the first are opened, so that at no time anybody could help the one to catch up.
        let alone = links::cut(cluster, &then, hold)?;
        let mut back = Hold::default();
        back.cut.extend(opens.iter().filter_map(|link| hold.cut.remove_entry(link)));
        let back = links::restore(cluster, &mut back, &Hold::default())?;

        let seen = Service::Uncertain.owed().to_owned();
        let shape = Evidence { source: "shape".to_owned(), node: None, seen };
        let missing = [&away, &alone, &back].iter().any(|part| part.outcome == Outcome::Indeterminate);
        let outcome = if missing { Outcome::Indeterminate } else { alone.outcome };
        let evidence = [away.evidence, alone.evidence, back.evidence, vec![shape]].concat();
        Ok(Receipt { outcome, evidence })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        links::restore(cluster, hold, others)
    }
}

fn plan(nodes: &[NodeId], targets: &[NodeId], rng: &mut Rng) -> Plan {
    let rest = nodes.iter().filter(|node| !targets.contains(node)).collect::<Vec<_>>();
    let Some(&&behind) = rest.choose(rng) else {
        return Plan { first: BTreeSet::new(), then: BTreeSet::new() };
    };
    let touches = |link: &Link| is_among(&[behind], link.from) || is_among(&[behind], link.to);
    let alone = |link: &Link| is_among(targets, link.from) || is_among(targets, link.to);
    Plan {
        first: all_links(nodes).filter(touches).collect(),
        then: all_links(nodes).filter(|link| alone(link) || !touches(link)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_away_alone_sees_a_majority_and_never_the_target() {
        let nodes = (1..=5).map(NodeId).collect::<Vec<_>>();
        for seed in 0..20 {
            let Plan { first, then } = plan(&nodes, &[NodeId(3)], &mut Rng::new(seed, 0));
            let sees = |cuts: &BTreeSet<Link>, node: NodeId| {
                nodes.iter().filter(|&&other| !cuts.contains(&Link::new(node, other))).count()
            };
            let away = nodes.iter().filter(|&&node| sees(&first, node) == 1).collect::<Vec<_>>();
            assert_eq!(away.len(), 1);
            assert_ne!(*away[0], NodeId(3));
            assert_eq!(sees(&then, *away[0]), 4, "all but the target");
            assert_eq!(sees(&then, NodeId(3)), 1);
            assert_eq!(nodes.iter().filter(|&&node| sees(&then, node) >= 3).count(), 1);
        }
    }
}
