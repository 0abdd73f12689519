//! The cluster at one moment: who lives, who leads which term, who holds what, and which faults are in force.
//!
//! It is what an observer who sees everything knows. A dead node keeps what it last told: its log comes back with it.

use std::collections::BTreeMap;

use super::environment::{Harm, harm_of};
use super::moment::Moment;
use crate::evidence::Evidence;
use crate::finding::EventRef;
use crate::history::{Event, FaultPhase, NodeId, Outcome, Phase};
use crate::raft::log_view::LogView;
use crate::trace::{LogIndex, Place, Role, Term, TraceEvent};

/// What is known of all nodes.
pub(super) struct Cluster<'a> {
    nodes: BTreeMap<NodeId, Node<'a>>,
    faults: Vec<InForce>,
    /// The highest index that any node ever told as committed.
    committed: LogIndex,
    /// The newest term that had a leader, and who it was.
    newest: Option<(Term, NodeId)>,
}

/// What is known of one node.
#[derive(Default)]
pub(super) struct Node<'a> {
    /// Whether its OS process is there; a paused one is.
    pub(super) alive: bool,
    /// Whether it has ever told of a boot.
    pub(super) booted: bool,
    pub(super) role: Option<Role>,
    /// The term of that role. It is behind `term` while a node that has entered a new one still has to tell its role.
    pub(super) role_term: Term,
    /// Where it told its role.
    pub(super) role_at: Option<Place<'a>>,
    pub(super) term: Term,
    pub(super) commit: LogIndex,
    /// The configuration that it goes by, and the index that it stands at.
    pub(super) voters: Option<(LogIndex, Vec<NodeId>)>,
    pub(super) log: LogView,
}

/// A fault that was injected and not healed.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) fault: String,
    pub(super) harm: Harm,
    pub(super) nodes: Vec<NodeId>,
    pub(super) at: EventRef,
}

impl Node<'_> {
    pub(super) fn leads(&self) -> bool {
        self.alive && self.role == Some(Role::Leader) && self.role_term == self.term
    }

    /// Entries that it holds and does not know to be committed; empty while its log is not known.
    pub(super) fn tail(&self) -> std::ops::RangeInclusive<LogIndex> {
        self.commit + 1..=self.log.last().unwrap_or(0)
    }

    /// Where it told its role, for a sighting.
    pub(super) fn role_event(&self) -> Vec<EventRef> {
        self.role_at.iter().map(Place::locate).collect()
    }
}

impl<'a> Cluster<'a> {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let traced = evidence.traces.iter().map(crate::trace::Trace::node);
        let nodes = traced.chain(evidence.expectations.nodes.iter().copied());
        Cluster {
            nodes: nodes.map(|node| (node, Node::default())).collect(),
            faults: Vec::new(),
            committed: 0,
            newest: None,
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node<'a>)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    pub(super) fn node(&self, node: NodeId) -> Option<&Node<'a>> {
        self.nodes.get(&node)
    }

    /// The highest index that any node ever told as committed.
    pub(super) fn committed(&self) -> LogIndex {
        self.committed
    }

    /// The newest term that had a leader, and who it was, dead or alive.
    pub(super) fn newest_leader(&self) -> Option<(Term, NodeId)> {
        self.newest
    }

    /// The leader of the newest term, if it is alive and still leads.
    pub(super) fn leader(&self) -> Option<(NodeId, &Node<'a>)> {
        let (term, id) = self.newest?;
        let node = self.nodes.get(&id)?;
        (node.leads() && node.term == term).then_some((id, node))
    }

    /// Whether these nodes are a majority by the newest configuration that any node goes by.
    pub(super) fn is_majority(&self, nodes: impl Iterator<Item = NodeId>) -> bool {
        let newest = self.nodes.values().filter_map(|node| node.voters.as_ref()).max_by_key(|(at, _)| *at);
        match newest {
            Some((_, voters)) => 2 * nodes.filter(|node| voters.contains(node)).count() > voters.len(),
            None => 2 * nodes.count() > self.nodes.len(),
        }
    }

    pub(super) fn faults(&self, harm: Harm) -> impl Iterator<Item = &InForce> {
        self.faults.iter().filter(move |fault| fault.harm == harm)
    }

    /// A fault of this kind that hurts this node.
    pub(super) fn fault_on(&self, harm: Harm, node: NodeId) -> Option<&InForce> {
        self.faults(harm).find(|fault| fault.nodes.contains(&node))
    }

    /// Whether this moment is the injection of a fault of this kind.
    pub(super) fn newly_in_force(now: &Moment<'_>, harm: Harm) -> bool {
        let Some(Event::Fault { fault, phase: FaultPhase::Inject, receipt, .. }) = now.recorded() else {
            return false;
        };
        harm_of(fault) == Some(harm) && receipt.outcome == Outcome::Installed
    }

    /// The cut that keeps a node from a majority, as far as faults tell: it is on the smaller side of a partition in
    /// two, or a cut of another shape is aimed at it.
    pub(super) fn cut_off(&self, node: NodeId) -> Option<&InForce> {
        self.faults(Harm::Cut).find(|cut| match cut.sides() {
            true => !self.is_majority(self.side_of(cut, node)),
            false => cut.nodes.contains(&node),
        })
    }

    fn side_of(&self, cut: &InForce, node: NodeId) -> impl Iterator<Item = NodeId> {
        let inside = cut.nodes.contains(&node);
        self.nodes.keys().copied().filter(move |other| cut.nodes.contains(other) == inside)
    }

    /// Nodes that are up and run: neither dead nor stopped.
    pub(super) fn is_running(&self, node: NodeId) -> bool {
        let known = &self.nodes[&node];
        // A system without traces never tells that it is back; there the heal stands for it.
        let down = !known.alive && (known.booted || self.fault_on(Harm::Down, node).is_some());
        !down && self.fault_on(Harm::Stopped, node).is_none()
    }

    /// The largest group of running nodes that faults leave connected, as far as partitions in two tell.
    pub(super) fn largest_group(&self) -> Vec<NodeId> {
        let side = |node: NodeId| {
            let cuts = self.faults(Harm::Cut).filter(|cut| cut.sides());
            cuts.map(|cut| cut.nodes.contains(&node)).collect::<Vec<bool>>()
        };
        let mut groups: BTreeMap<Vec<bool>, Vec<NodeId>> = BTreeMap::new();
        for &node in self.nodes.keys().filter(|node| self.is_running(**node)) {
            groups.entry(side(node)).or_default().push(node);
        }
        groups.into_values().max_by_key(Vec::len).unwrap_or_default()
    }

    /// The nodes whose life this moment ends: killed, dead by themselves, or, with nobody telling, booting again.
    pub(super) fn ended_by(&self, now: &Moment<'_>) -> Vec<NodeId> {
        let alive = |node: &NodeId| self.nodes.get(node).is_some_and(|node| node.alive);
        match (now.recorded(), now.traced()) {
            (Some(Event::Fault { fault, phase: FaultPhase::Inject, nodes, receipt, .. }), _)
                if harm_of(fault) == Some(Harm::Down) && receipt.outcome == Outcome::Installed =>
            {
                nodes.iter().copied().filter(alive).collect()
            }
            (Some(&Event::Death { node, .. }), _) | (_, Some((node, TraceEvent::Boot { .. }))) => {
                [node].into_iter().filter(alive).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes in what happened.
    pub(super) fn follow(&mut self, now: &Moment<'a>) {
        for node in self.ended_by(now) {
            self.nodes.get_mut(&node).expect("it was alive").alive = false;
        }
        if let Some(event) = now.recorded() {
            self.follow_recorded(event, now);
        }
        if let super::moment::What::Traced(place, event) = now.what {
            self.follow_traced(place, event);
        }
    }

    fn follow_recorded(&mut self, event: &Event, now: &Moment<'_>) {
        match event {
            Event::Fault { fault, phase: FaultPhase::Inject, nodes, receipt, .. } => {
                if let (Some(harm), Outcome::Installed) = (harm_of(fault), receipt.outcome) {
                    let (fault, nodes) = (fault.clone(), nodes.clone());
                    self.faults.push(InForce { fault, harm, nodes, at: now.locate() });
                }
            }
            Event::Fault { fault, phase: FaultPhase::Heal, nodes, .. } => {
                // A heal names the injection by fault and nodes; one that fits none exactly ends all of the fault's.
                let exact =
                    self.faults.iter().rposition(|known| known.fault == *fault && known.nodes == *nodes);
                match exact {
                    Some(position) => drop(self.faults.remove(position)),
                    None => self.faults.retain(|known| known.fault != *fault),
                }
            }
            // Whatever is left is healed before the recovery begins.
            Event::Phase { phase: Phase::Recovery, .. } => self.faults.clear(),
            Event::Phase { .. } | Event::Death { .. } | Event::Invoke { .. } | Event::Complete { .. } => {}
        }
    }

    fn follow_traced(&mut self, place: Place<'a>, event: &TraceEvent) {
        let id = place.node();
        let node = self.nodes.get_mut(&id).expect("every traced node is known");
        node.log.follow(event);
        // The last words of a dying node may be stamped before the evidence of its death, never after.
        match *event {
            TraceEvent::Boot { term, snapshot_index, .. } => {
                node.alive = true;
                node.booted = true;
                node.term = term;
                node.role = Some(Role::Follower);
                node.role_term = term;
                node.role_at = Some(place);
                node.commit = snapshot_index;
            }
            TraceEvent::Term { term } => node.term = term,
            TraceEvent::Role { role, term } => {
                node.role = Some(role);
                node.role_term = term;
                node.role_at = Some(place);
                node.term = term;
                if role == Role::Leader && self.newest.is_none_or(|(newest, _)| newest <= term) {
                    self.newest = Some((term, id));
                }
            }
            TraceEvent::Commit { index, .. } => {
                node.commit = index;
                self.committed = self.committed.max(index);
            }
            TraceEvent::Members { index, ref voters, .. } => node.voters = Some((index, voters.clone())),
            TraceEvent::Aside(_)
            | TraceEvent::Snapshot { .. }
            | TraceEvent::Restore { .. }
            | TraceEvent::Vote { .. }
            | TraceEvent::Append { .. }
            | TraceEvent::Truncate { .. }
            | TraceEvent::Durable { .. }
            | TraceEvent::Apply { .. } => {}
        }
    }
}

impl InForce {
    /// Whether it splits the nodes in two: those that it names, and the others.
    fn sides(&self) -> bool {
        matches!(self.fault.as_str(), "partition" | "partition-island" | "partition-halves")
    }
}
