//! Situations around members and handed-over leadership.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::environment::Harm;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::finding::EventRef;
use crate::history::NodeId;
use crate::trace::{Aside, LogIndex, Role, TraceEvent, TransferPhase};

/// It counts replicas for an entry by which its own does not count, and then it must go.
pub(super) const LEADER_REMOVED_ITSELF: Situation = Situation {
    name: "leader-removed-itself",
    about: "a leader committed a configuration to which it does not belong",
    source: "Raft thesis, section 4.2.2",
    steps: &["a leader appended a configuration without itself", "that leader committed it"],
    watch: || Box::<RemovedItself>::default(),
};

#[derive(Default)]
struct RemovedItself {
    appended: BTreeMap<NodeId, (LogIndex, EventRef)>,
}

impl Watch for RemovedItself {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, event)) = now.traced() else { return };
        let leads = cluster.node(id).is_some_and(super::cluster::Node::leads);
        match *event {
            TraceEvent::Members { index, ref voters, .. } if leads && index > 0 && !voters.contains(&id) => {
                seen.step(0);
                self.appended.insert(id, (index, now.locate()));
            }
            TraceEvent::Aside(Aside::MembersCommitted { index }) if leads => {
                let Some((_, at)) = self.appended.remove(&id).filter(|(known, _)| *known == index) else {
                    return;
                };
                seen.reached(now.time, || {
                    (format!("{id} committed configuration {index} without itself"), vec![at, now.locate()])
                });
            }
            // Whoever leads no more commits no more.
            TraceEvent::Role { .. } | TraceEvent::Boot { .. } => drop(self.appended.remove(&id)),
            _ => {}
        }
    }
}

/// Both halves of a split might want to change who counts.
pub(super) const CHANGE_DURING_PARTITION: Situation = Situation {
    name: "change-during-partition",
    about: "a leader appended a new configuration while links between nodes were cut",
    source: "Raft thesis, section 4.1 and 4.2",
    steps: &["a leader appended a new configuration", "links were cut at that moment"],
    watch: || Box::new(ChangeUnderCut),
};

struct ChangeUnderCut;

impl Watch for ChangeUnderCut {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Members { index, .. })) = now.traced() else { return };
        let Some(node) = cluster.node(id).filter(|node| node.leads()) else { return };
        if node.voters.as_ref().is_none_or(|(known, _)| index <= *known) {
            return;
        }
        seen.step(0);
        if let Some(cut) = cluster.faults(Harm::Cut).next() {
            seen.reached(now.time, || {
                let text = format!("{id} appended configuration {index} under {}", cut.fault);
                (text, vec![cut.at.clone(), now.locate()])
            });
        }
    }
}

/// A configuration is in force from its append, so a truncation takes it back.
pub(super) const CONFIGURATION_ROLLED_BACK: Situation = Situation {
    name: "configuration-rolled-back",
    about: "a node that went by an uncommitted configuration went back to the one before",
    source: "Raft thesis, section 4.1: a server must be able to fall back",
    steps: &["a node went by a new configuration", "it went back to an older one in the same life"],
    watch: || Box::<RolledBack>::default(),
};

#[derive(Default)]
struct RolledBack {
    /// The configuration that each node goes by in its present life.
    in_force: BTreeMap<NodeId, (LogIndex, EventRef)>,
}

impl Watch for RolledBack {
    fn before(&mut self, now: &Moment<'_>, _cluster: &Cluster<'_>, seen: &mut Seen) {
        match now.traced() {
            Some((id, &TraceEvent::Members { index, .. })) => {
                let Some((before, at)) = self.in_force.insert(id, (index, now.locate())) else { return };
                if before < index {
                    seen.step(0);
                } else if index < before {
                    let text = format!("{id} went back from configuration {before} to {index}");
                    seen.reached(now.time, || (text, vec![at, now.locate()]));
                }
            }
            Some((id, TraceEvent::Boot { .. })) => drop(self.in_force.remove(&id)),
            _ => {}
        }
    }
}

/// An election that nobody waited for.
pub(super) const TRANSFER_COMPLETED: Situation = Situation {
    name: "transfer-completed",
    about: "a leader handed over, and the node that it named was the next to lead",
    source: "Raft thesis, section 3.10",
    steps: &[
        "a transfer was asked for",
        "its target was told to campaign",
        "the target was the next to lead",
    ],
    watch: || Box::<Transfers>::default(),
};

#[derive(Default)]
struct Transfers {
    /// Who was told to campaign, and where.
    told: Option<(NodeId, EventRef)>,
}

impl Watch for Transfers {
    fn before(&mut self, now: &Moment<'_>, _cluster: &Cluster<'_>, seen: &mut Seen) {
        match now.traced() {
            Some((_, &TraceEvent::Aside(Aside::Transfer { to, phase, .. }))) => match phase {
                TransferPhase::Asked => seen.step(0),
                TransferPhase::Sent => {
                    seen.step(1);
                    self.told = Some((to, now.locate()));
                }
                TransferPhase::Done | TransferPhase::Abandoned => {}
            },
            Some((id, &TraceEvent::Role { role: Role::Leader, term })) => {
                let Some((_, told_at)) = self.told.take().filter(|(to, _)| *to == id) else { return };
                seen.reached(now.time, || {
                    (format!("{id} leads term {term} as it was told to"), vec![told_at, now.locate()])
                });
            }
            _ => {}
        }
    }
}
