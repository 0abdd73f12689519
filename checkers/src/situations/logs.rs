//! Situations around logs: entries that differ, that give way, that survive their leader, and those of Figure 8.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::finding::EventRef;
use crate::history::NodeId;
use crate::raft::log_view::Holding;
use crate::trace::{LogIndex, Role, Term, TraceEvent};

/// The logs that a leader change may leave.
pub(super) const DIVERGENT_LOGS: Situation = Situation {
    name: "divergent-logs",
    about: "two nodes held different entries at one index",
    source: "Raft paper, section 5.3, Figure 7",
    steps: &["a node appended", "it was no longer the first term", "another node held another entry there"],
    watch: || Box::<DivergentLogs>::default(),
};

#[derive(Default)]
struct DivergentLogs {
    /// Pairs that differ already, told once each time they part.
    parted: BTreeSet<(NodeId, NodeId)>,
    first_term: Option<Term>,
}

impl Watch for DivergentLogs {
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, event)) = now.traced() else { return };
        let TraceEvent::Append { term, first_index, entries, .. } = event else {
            if matches!(event, TraceEvent::Truncate { .. } | TraceEvent::Boot { .. }) {
                self.parted.retain(|&(a, b)| a != id && b != id);
            }
            return;
        };
        seen.step(0);
        if *self.first_term.get_or_insert(*term) == *term {
            return;
        }
        seen.step(1);
        // Logs that are equal at one entry are equal before it (log matching), and terms never fall along a log. So
        // logs that differ anywhere among the new entries differ at the last one that both have.
        let last = first_index + entries.len() as LogIndex - 1;
        for (other, node) in cluster.nodes().filter(|&(other, _)| other != id) {
            let common = last.min(node.log.last().unwrap_or(0));
            if common < *first_index {
                continue;
            }
            let mine = entries[(common - first_index) as usize].0;
            let pair = (id.min(other), id.max(other));
            match node.log.holding(common) {
                Holding::Term(theirs) if theirs != mine => {
                    if self.parted.insert(pair) {
                        seen.reached(now.time, || {
                            let text = format!("at {common} {id} held term {mine} and {other} term {theirs}");
                            (text, vec![now.locate()])
                        });
                    }
                }
                Holding::Term(_) => drop(self.parted.remove(&pair)),
                Holding::Missing { .. } | Holding::Unknown => {}
            }
        }
    }
}

/// The repair of the above.
pub(super) const TAIL_TRUNCATED: Situation = Situation {
    name: "tail-truncated",
    about: "a node removed entries from the end of its log, because its leader had others",
    source: "Raft paper, section 5.3 and Figure 2, AppendEntries rule 3",
    steps: &["a node removed entries from its log"],
    watch: || Box::new(TailTruncated),
};

struct TailTruncated;

impl Watch for TailTruncated {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Truncate { from_index })) = now.traced() else { return };
        let last = cluster.node(id).and_then(|node| node.log.last());
        seen.reached(now.time, || {
            let text = match last {
                Some(last) => format!("{id} removed entries {from_index} to {last}"),
                None => format!("{id} removed entries from {from_index} on"),
            };
            (text, vec![now.locate()])
        });
    }
}

/// An entry whose leader could not commit it is in doubt; here it stays, and its client may have given up.
pub(super) const TAIL_SURVIVES: Situation = Situation {
    name: "tail-survives",
    about: "an entry that its leader had not committed was committed by a leader of a newer term",
    source: "Raft paper, section 5.4.2",
    steps: &[
        "a leader of a newer term held an uncommitted entry of an older one",
        "that leader committed it",
    ],
    watch: || Box::new(Inherited { want: Want::Committed, open: None }),
};

/// Such an entry is on a majority and may still be lost: counting replicas does not commit it.
pub(super) const FIGURE_8_WINDOW: Situation = Situation {
    name: "figure-8-window",
    about: "an uncommitted entry of an older term was on a majority under a leader of a newer term",
    source: "Raft paper, section 5.4.2, Figure 8 (c)",
    steps: &[
        "a leader of a newer term held an uncommitted entry of an older one",
        "that entry was on a majority",
    ],
    watch: || Box::new(Inherited { want: Want::Majority, open: None }),
};

/// The same, and somebody could be elected who overwrites it: Figure 8 with both its ends open.
pub(super) const FIGURE_8_OVERWRITABLE: Situation = Situation {
    name: "figure-8-overwritable",
    about: "as figure-8-window, and a node without the entry had a log that ends in a newer term than the entry's",
    source: "Raft paper, section 5.4.2, Figure 8 (c) and (d)",
    steps: &[
        "a leader of a newer term held an uncommitted entry of an older one",
        "that entry was on a majority",
        "a node without it had a log that ends in a newer term than the entry's",
    ],
    watch: || Box::new(Inherited { want: Want::Overwritable, open: None }),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Majority,
    Overwritable,
    Committed,
}

/// Watches the first uncommitted entry that each new leader has inherited. One entry is enough: those behind it are on
/// no more nodes.
struct Inherited {
    want: Want,
    open: Option<Inheritance>,
}

struct Inheritance {
    leader: NodeId,
    leader_term: Term,
    index: LogIndex,
    entry_term: Term,
    elected_at: EventRef,
    /// Whether it was seen on a majority already.
    on_majority: bool,
}

impl Watch for Inherited {
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, event)) = now.traced() else { return };
        match *event {
            TraceEvent::Role { role: Role::Leader, term } => {
                let index = cluster.committed() + 1;
                let entry_term = cluster.node(id).and_then(|node| node.log.term(index));
                self.open = entry_term.filter(|entry_term| *entry_term < term).map(|entry_term| {
                    seen.step(0);
                    let (leader, elected_at) = (id, now.locate());
                    Inheritance {
                        leader,
                        leader_term: term,
                        index,
                        entry_term,
                        elected_at,
                        on_majority: false,
                    }
                });
                self.count_copies(now, cluster, seen);
            }
            TraceEvent::Append { .. } => self.count_copies(now, cluster, seen),
            TraceEvent::Commit { index, .. } => {
                let Some(open) = self.open.take_if(|open| open.index <= index) else { return };
                // Anybody's commit ends the window; only the heir's own one, in its own term, is the heir's deed.
                if self.want == Want::Committed && id == open.leader {
                    seen.reached(now.time, || {
                        let Inheritance { leader, leader_term, index, entry_term, elected_at, .. } = open;
                        let text = format!("{leader}, leader of term {leader_term}, committed entry {index}");
                        (format!("{text} of term {entry_term}"), vec![elected_at, now.locate()])
                    });
                }
            }
            _ => {}
        }
    }
}

impl Inherited {
    fn count_copies(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some(open) = self.open.as_mut() else { return };
        let holds =
            |node: &super::cluster::Node<'_>| node.log.holding(open.index) == Holding::Term(open.entry_term);
        let copies: Vec<NodeId> = cluster.nodes().filter(|(_, node)| holds(node)).map(|(id, _)| id).collect();
        if self.want == Want::Committed || !cluster.is_majority(copies.iter().copied()) {
            return;
        }
        let mut text =
            format!("entry {} of term {} was on {} nodes", open.index, open.entry_term, copies.len());
        text.push_str(&format!(" under {}, leader of term {}", open.leader, open.leader_term));
        let events = vec![open.elected_at.clone(), now.locate()];
        match self.want {
            Want::Majority => self.open = None,
            Want::Overwritable => {
                if !open.on_majority {
                    open.on_majority = true;
                    seen.step(1);
                }
                let last_term = |node: &super::cluster::Node<'_>| node.log.term(node.log.last()?);
                let rival = cluster.nodes().find(|(_, node)| {
                    !holds(node) && last_term(node).is_some_and(|last| last > open.entry_term)
                });
                let Some((rival, node)) = rival else { return };
                let last = last_term(node).expect("it was found by its last term");
                text.push_str(&format!(", and {rival}, whose log ends in term {last}, had another"));
                self.open = None;
            }
            Want::Committed => return,
        }
        seen.reached(now.time, || (text, events));
    }
}
