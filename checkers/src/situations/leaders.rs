//! Situations around leaders: two at once, cut off, asleep, killed, and stepping down.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::environment::Harm;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::finding::{EventRef, count};
use crate::history::{Event, FaultPhase, NodeId, Outcome};
use crate::trace::{LogIndex, Role, Term, TraceEvent};

/// Lawful, for only one leader a *term* is promised; a read or an acknowledgement by the older one must still be right.
pub(super) const TWO_LEADERS: Situation = Situation {
    name: "two-leaders",
    about: "two nodes were alive and led different terms at the same time",
    source: "Raft thesis, section 6.2 and 6.4: a deposed leader that does not know it",
    steps: &[
        "a node became leader",
        "a leader was followed by one of a newer term",
        "the older leader was still alive and leading",
    ],
    watch: || Box::new(TwoLeaders),
};

struct TwoLeaders;

impl Watch for TwoLeaders {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((new, &TraceEvent::Role { role: Role::Leader, term })) = now.traced() else { return };
        seen.step(0);
        if cluster.newest_leader().is_some_and(|(newest, _)| newest < term) {
            seen.step(1);
        }
        let mut others = cluster.nodes().filter(|&(id, node)| id != new && node.leads() && node.term < term);
        if let Some((old, node)) = others.next() {
            seen.reached(now.time, || {
                let text = format!("{new} leads term {term} and {old} still term {}", node.term);
                (text, node.role_event().into_iter().chain([now.locate()]).collect())
            });
        }
    }
}

/// What the leader took on while it was cut off was never acknowledged, and must not seem so.
pub(super) const ISOLATED_LEADER_WITH_UNCOMMITTED_TAIL: Situation = Situation {
    name: "isolated-leader-with-uncommitted-tail",
    about: "a leader that was cut off held entries that it could not commit until it led no more",
    source: "Raft paper, section 5.3, Figure 7; thesis, section 6.2",
    steps: &[
        "a leader was cut off",
        "it held an uncommitted entry meanwhile",
        "it was overtaken, or ended, with that entry",
    ],
    watch: || Box::new(Isolation { cut: BTreeMap::new(), tails: BTreeMap::new(), until: Until::Overtaken }),
};

/// The rejoining old leader: its entries give way to those of its successor.
pub(super) const ISOLATED_LEADER_RETURNS: Situation = Situation {
    name: "isolated-leader-returns",
    about: "a leader came back from its isolation, and its uncommitted tail was removed",
    source: "Raft paper, section 5.3: conflicting entries are overwritten",
    steps: &[
        "a leader was cut off",
        "it held an uncommitted entry meanwhile",
        "it was overtaken with that entry",
        "the tail was removed when it came back",
    ],
    watch: || Box::new(Isolation { cut: BTreeMap::new(), tails: BTreeMap::new(), until: Until::Returned }),
};

/// Which part of the story of an isolated leader is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Overtaken,
    Returned,
}

struct Isolation {
    /// Leaders that are cut off.
    cut: BTreeMap<NodeId, CutLeader>,
    /// The first entry of the tail with which a leader was overtaken, and the events so far.
    tails: BTreeMap<NodeId, (LogIndex, Vec<EventRef>)>,
    until: Until,
}

struct CutLeader {
    term: Term,
    cut_at: EventRef,
    held_tail: bool,
}

impl Watch for Isolation {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let mut overtaken = cluster.ended_by(now);
        if let Some((node, &TraceEvent::Role { role, term })) = now.traced() {
            let older = self.cut.iter().filter(|(_, leader)| role == Role::Leader && leader.term < term);
            overtaken.extend(older.map(|(&id, _)| id));
            overtaken.push(node);
        }
        for id in overtaken {
            let (Some(leader), Some(node)) = (self.cut.remove(&id), cluster.node(id)) else { continue };
            let tail = node.tail();
            if tail.is_empty() {
                continue;
            }
            let events = vec![leader.cut_at, now.locate()];
            match self.until {
                Until::Overtaken => seen.reached(now.time, || {
                    let (first, last) = (tail.start(), tail.end());
                    let text = format!("{id}, leader of term {}, held {first} to {last}", leader.term);
                    (format!("{text} uncommitted"), events)
                }),
                Until::Returned => {
                    seen.step(2);
                    self.tails.insert(id, (*tail.start(), events));
                }
            }
        }
        if let Some((id, &TraceEvent::Truncate { from_index })) = now.traced()
            && let Some((first, mut events)) = self.tails.remove(&id)
        {
            // Later entries alone are not the tail.
            if cluster.node(id).is_some_and(|node| *node.tail().end() >= first.max(from_index)) {
                events.push(now.locate());
                let text = format!("{id} removed what it held from {} on", first.max(from_index));
                seen.reached(now.time, || (text, events));
            }
        }
    }

    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        match (now.recorded(), now.traced()) {
            (Some(Event::Fault { .. } | Event::Phase { .. }), _) => {
                self.cut.retain(|&id, _| cluster.cut_off(id).is_some());
                for (id, node) in cluster.nodes().filter(|(_, node)| node.leads()) {
                    let overtaken = cluster.newest_leader().is_some_and(|(newest, _)| newest > node.term);
                    if let Some(cut) = cluster.cut_off(id).filter(|_| !overtaken)
                        && !self.cut.contains_key(&id)
                    {
                        seen.step(0);
                        let leader = CutLeader { term: node.term, cut_at: cut.at.clone(), held_tail: false };
                        self.cut.insert(id, leader);
                        self.look_at_tail(id, cluster, seen);
                    }
                }
            }
            (_, Some((id, TraceEvent::Append { .. }))) => self.look_at_tail(id, cluster, seen),
            _ => {}
        }
    }
}

impl Isolation {
    fn look_at_tail(&mut self, id: NodeId, cluster: &Cluster<'_>, seen: &mut Seen) {
        let holds_tail = cluster.node(id).is_some_and(|node| !node.tail().is_empty());
        if let Some(leader) = self.cut.get_mut(&id).filter(|leader| holds_tail && !leader.held_tail) {
            leader.held_tail = true;
            seen.step(1);
        }
    }
}

/// A long pause (a collector of garbage, a moved machine) is the classic way to a leader that does not know its time.
pub(super) const PAUSED_LEADER_RETURNS: Situation = Situation {
    name: "paused-leader-returns",
    about: "a leader was paused, another was elected, and the first one went on believing that it leads",
    source: "Raft thesis, section 6.4: a leader deposed without knowing it",
    steps: &["a leader was paused", "another was elected meanwhile", "it was woken after that"],
    watch: || Box::<PausedLeader>::default(),
};

#[derive(Default)]
struct PausedLeader {
    /// Its term, where it was paused, and where its successor was elected.
    paused: BTreeMap<NodeId, (Term, Vec<EventRef>)>,
}

impl Watch for PausedLeader {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if let Some((_, &TraceEvent::Role { role: Role::Leader, term })) = now.traced() {
            for (old, events) in self.paused.values_mut() {
                if *old < term && events.len() == 1 {
                    seen.step(1);
                    events.push(now.locate());
                }
            }
        }
        for id in cluster.ended_by(now) {
            self.paused.remove(&id);
        }
        let Some(Event::Fault { phase: FaultPhase::Heal, nodes, .. }) = now.recorded() else { return };
        // The heal is stamped when the node runs again, so it may have told of stepping down before.
        for id in nodes.iter().filter(|id| cluster.fault_on(Harm::Stopped, **id).is_some()) {
            if let Some((term, mut events)) = self.paused.remove(id)
                && events.len() == 2
            {
                events.push(now.locate());
                seen.reached(now.time, || (format!("{id} came back as the leader of term {term}"), events));
            }
        }
    }

    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some(Event::Fault { phase: FaultPhase::Inject, nodes, receipt, .. }) = now.recorded() else {
            return;
        };
        if receipt.outcome != Outcome::Installed {
            return;
        }
        for &id in nodes {
            let leads = cluster.node(id).filter(|node| node.leads());
            if let Some(node) = leads.filter(|_| cluster.fault_on(Harm::Stopped, id).is_some())
                && !self.paused.contains_key(&id)
            {
                seen.step(0);
                self.paused.insert(id, (node.term, vec![now.locate()]));
            }
        }
    }
}

/// What it had promised nobody may be lost; what it had promised is on other disks.
pub(super) const LEADER_KILLED_WITH_UNACKNOWLEDGED_WRITES: Situation = Situation {
    name: "leader-killed-with-unacknowledged-writes",
    about: "a leader died with entries in its log that it had not committed",
    source: "Raft paper, section 5.3 and 5.4.2",
    steps: &["a leader died", "it held an entry that it had not committed"],
    watch: || Box::new(LeaderKilled),
};

struct LeaderKilled;

impl Watch for LeaderKilled {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        for id in cluster.ended_by(now) {
            let Some(node) = cluster.node(id).filter(|node| node.leads()) else { continue };
            seen.step(0);
            let tail = node.tail();
            if !tail.is_empty() {
                seen.reached(now.time, || {
                    let entries = count(tail.count(), "entry");
                    let text = format!("{id} died as the leader of term {} with {entries}", node.term);
                    let events = node.role_event().into_iter().chain([now.locate()]).collect();
                    (format!("{text} uncommitted"), events)
                });
            }
        }
    }
}

/// CheckQuorum at work: the leader finds out by itself that it cannot commit.
pub(super) const LEADER_STEPPED_DOWN: Situation = Situation {
    name: "leader-stepped-down",
    about: "a leader gave up its term without having heard of a newer one",
    source: "Raft thesis, section 6.2: a leader that hears from no quorum steps down",
    steps: &["a leader ceased to lead", "it did so in its own term"],
    watch: || Box::new(SteppedDown),
};

struct SteppedDown;

impl Watch for SteppedDown {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Role { role, term })) = now.traced() else { return };
        let led = |node: &&super::cluster::Node<'_>| node.alive && node.role == Some(Role::Leader);
        let Some(node) = cluster.node(id).filter(led).filter(|_| role != Role::Leader) else { return };
        seen.step(0);
        if node.role_term == term {
            seen.reached(now.time, || {
                let events = node.role_event().into_iter().chain([now.locate()]).collect();
                (format!("{id} gave up term {term}"), events)
            });
        }
    }
}
