//! Availability: how long nobody was served, by kind of operation and by node.
//!
//! A gap begins when an operation is asked for and ends when one of its kind succeeds on that node; without a
//! request there is no gap. The longest ones are always told. They are an anomaly only if the run sets a bound, and
//! then only as far as the cluster could have served:
//!
//! - A node that is down, paused or cut off from a majority serves nobody, and no node does while no majority of
//!   live nodes is connected. Afterwards the clock starts anew, for the cluster has to elect again.
//! - Under other cuts (one-way, ring, bridge) it depends on the logs whether anybody can win an election: a node
//!   that alone reaches a majority may lack committed entries (*constrained election*). And what other faults do to a
//!   node is not known here. Nothing is held against the cluster while one of these is in force.

use std::collections::BTreeMap;

use crate::disturbance::{Disturbance, disturbances};
use crate::evidence::Evidence;
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict, seconds};
use crate::history::{EventIndex, History, NodeId, OpKind, Phase, Time};

/// The longest time without service.
pub struct Availability;

impl Checker for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }

    fn about(&self) -> &'static str {
        "no node leaves a kind of operation unserved for longer than the run allows, unless faults leave no majority"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        let history = &evidence.history;
        if history.operations().is_empty() {
            return Finding::new(self, Verdict::Unknown, "nobody asked for anything");
        }
        let gaps = gaps(history);
        let healed_at = history.phase_start(Phase::Recovery).unwrap_or(Time::MAX);
        let periods = [("drive", 0, healed_at), ("after the heal", healed_at, Time::MAX)];
        let mut summary = Vec::new();
        let mut checked: BTreeMap<String, usize> = BTreeMap::new();
        for (period, from, until) in periods {
            let mut worst: BTreeMap<OpKind, (Time, NodeId)> = BTreeMap::new();
            for (&(kind, node), gaps) in &gaps {
                let longest = gaps.iter().map(|gap| gap.within(from, until)).max().unwrap_or(0);
                checked.insert(format!("{node} {kind} {period} ms"), (longest / 1_000_000) as usize);
                if worst.get(&kind).is_none_or(|(known, _)| *known < longest) {
                    worst.insert(kind, (longest, node));
                }
            }
            if from < history.last_time() {
                let told =
                    worst.iter().map(|(kind, (gap, node))| format!("{kind} {} ({node})", seconds(*gap)));
                summary.push(format!("{period}: {}", told.collect::<Vec<_>>().join(", ")));
            }
        }
        let valid = if gaps.is_empty() {
            "no operation names the node that it was sent to".to_owned()
        } else {
            format!("longest without service: {}", summary.join("; "))
        };
        let anomalies = match evidence.expectations.unavailable_max_ms {
            Some(bound_ms) => too_long(evidence, &gaps, bound_ms.saturating_mul(1_000_000)),
            None => Vec::new(),
        };
        let found = anomalies.len();
        let finding = Finding::from_anomalies(self, anomalies, found, valid);
        checked.iter().fold(finding, |finding, (what, ms)| finding.with_checked(what, *ms))
    }
}

/// A time in which somebody asked and nobody was served.
#[derive(Clone, Copy)]
struct Gap {
    from: Time,
    until: Time,
    /// The first event after the last success.
    event: EventIndex,
}

impl Gap {
    /// How much of it is in an interval.
    fn within(&self, from: Time, until: Time) -> Time {
        self.until.min(until).saturating_sub(self.from.max(from))
    }
}

/// What is open to one node for one kind of operation.
#[derive(Default)]
struct Demand {
    open: usize,
    /// Since when, and the event that began it.
    unserved: Option<(Time, EventIndex)>,
    /// When anything was last asked or answered.
    heard: Time,
    gaps: Vec<Gap>,
}

fn gaps(history: &History) -> BTreeMap<(OpKind, NodeId), Vec<Gap>> {
    let mut demands: BTreeMap<(OpKind, NodeId), Demand> = BTreeMap::new();
    // Whose event it is: an event of an operation belongs to one operation.
    let mut changes: Vec<(EventIndex, usize)> = Vec::new();
    for operation in history.operations().iter().filter(|operation| operation.node.is_some()) {
        changes.push((operation.invoke_event, operation.index));
        changes.extend(operation.complete_event.map(|event| (event, operation.index)));
    }
    changes.sort_unstable();
    for (event, index) in changes {
        let operation = &history.operations()[index];
        let node = operation.node.expect("filtered above");
        let demand = demands.entry((operation.op.kind(), node)).or_default();
        if event == operation.invoke_event {
            demand.heard = operation.invoked_at;
            demand.open += 1;
            demand.unserved.get_or_insert((operation.invoked_at, event));
            continue;
        }
        let now = operation.completed_at.expect("it has an event of its completion");
        demand.heard = now;
        demand.open -= 1;
        if operation.reply().is_some() {
            let began = demand.unserved.take();
            demand.gaps.extend(began.map(|(from, event)| Gap { from, until: now, event }));
            demand.unserved = (demand.open > 0).then_some((now, event));
        }
    }
    let closed = |(key, mut demand): (_, Demand)| {
        // Who still waits has waited to the end; otherwise the last answer, which was no success, ends the gap.
        let until = if demand.open > 0 { history.last_time() } else { demand.heard };
        let last = demand.unserved.map(|(from, event)| Gap { from, until, event });
        demand.gaps.extend(last);
        (key, demand.gaps)
    };
    demands.into_iter().map(closed).collect()
}

/// For each kind and node the longest stretch that nothing excuses, if it is over the bound.
fn too_long(evidence: &Evidence, gaps: &BTreeMap<(OpKind, NodeId), Vec<Gap>>, bound: Time) -> Vec<Anomaly> {
    let history = &evidence.history;
    let excuses = Excuses::of(evidence);
    let mut anomalies = Vec::new();
    for (&(kind, node), gaps) in gaps {
        let stretch = |gap: &Gap| (excuses.longest_unexcused(node, gap), *gap);
        let Some((stretch, gap)) = gaps.iter().map(stretch).max_by_key(|(stretch, _)| *stretch) else {
            continue;
        };
        if stretch <= bound {
            continue;
        }
        let mut text = vec![format!(
            "{node} served no {kind} for {}, the limit is {}",
            seconds(stretch),
            seconds(bound)
        )];
        text.push(format!(
            "it was asked from {} on, and nothing succeeded until {}",
            seconds(gap.from),
            seconds(gap.until)
        ));
        for disturbance in
            excuses.disturbances.iter().filter(|known| known.touches(gap.from, gap.until)).take(5)
        {
            let nodes: Vec<String> = disturbance.nodes.iter().map(NodeId::to_string).collect();
            let until = disturbance.ended.map_or_else(|| "the end".to_owned(), seconds);
            let (fault, from) = (&disturbance.fault, seconds(disturbance.began));
            text.push(format!("{fault} of {} from {from} to {until}", nodes.join("+")));
        }
        if text.len() > 2 {
            text.push("the time in which these left the node no majority is not counted".to_owned());
        }
        let events = vec![history.locate(gap.event)];
        anomalies.push(Anomaly { title: "unavailable for too long".to_owned(), text, events });
    }
    anomalies
}

/// When which nodes cannot be blamed.
struct Excuses {
    disturbances: Vec<Disturbance>,
    nodes: Vec<NodeId>,
    /// Every moment at which something begins or ends.
    edges: Vec<Time>,
}

impl Excuses {
    fn of(evidence: &Evidence) -> Self {
        let disturbances = disturbances(&evidence.history);
        let mut edges: Vec<Time> = disturbances.iter().map(|known| known.began).collect();
        edges.extend(disturbances.iter().filter_map(|known| known.ended));
        edges.sort_unstable();
        edges.dedup();
        Excuses { disturbances, nodes: evidence.expectations.nodes.clone(), edges }
    }

    /// The longest part of a gap without an excuse.
    fn longest_unexcused(&self, node: NodeId, gap: &Gap) -> Time {
        let inside = self.edges.iter().copied().filter(|edge| (gap.from..gap.until).contains(edge));
        let mut longest = 0;
        let mut counted_from = None;
        let mut begin = gap.from;
        for end in inside.chain([gap.until]) {
            if self.excused(node, begin, end) {
                counted_from = None;
            } else {
                let from = *counted_from.get_or_insert(begin);
                longest = longest.max(end - from);
            }
            begin = end;
        }
        longest
    }

    /// Whether a node can lawfully serve nobody between two neighbouring edges.
    fn excused(&self, node: NodeId, begin: Time, end: Time) -> bool {
        let in_force =
            |known: &&Disturbance| known.began <= begin && known.ended.is_none_or(|ended| ended >= end);
        let mut down: Vec<NodeId> = Vec::new();
        let mut sides: Vec<&Vec<NodeId>> = Vec::new();
        for known in self.disturbances.iter().filter(in_force) {
            match known.fault.as_str() {
                "kill" | "pause" | "death" => down.extend(&known.nodes),
                "partition" => sides.push(&known.nodes),
                _ => return true,
            }
        }
        if down.contains(&node) {
            return true;
        }
        // Two nodes reach each other if every partition has them on the same side.
        let together = |other: &NodeId| sides.iter().all(|side| side.contains(other) == side.contains(&node));
        let reached = self.nodes.iter().filter(|other| !down.contains(other) && together(other)).count();
        reached <= self.nodes.len() / 2
    }
}
