//! State machine safety: if a node has applied an entry at an index, no other node will ever apply a different
//! entry at that index (Figure 3). And since entries are applied in order by a deterministic state machine,
//! the states after an index are equal as well: over all nodes and over all lives, whatever snapshot they began
//! with (`snapshot-matches-log` judges the snapshots themselves).

use std::collections::HashMap;

use super::{Anomalies, events, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::history::NodeId;
use crate::trace::{Digest, LogIndex, Place, Term, TraceEvent};

/// One entry and one state at each applied index, and one term at each committed one.
pub struct StateMachineSafety;

impl Checker for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state-machine-safety"
    }

    fn about(&self) -> &'static str {
        "all nodes apply the same entries in the same order and reach the same states (Raft, Figure 3)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut judge = Judge {
            evidence,
            anomalies: Anomalies::new(),
            entries: HashMap::new(),
            states: HashMap::new(),
            terms: HashMap::new(),
            progress: HashMap::new(),
        };
        for (place, event) in events(evidence) {
            judge.look(place, event);
        }
        let applied = judge.entries.len();
        if applied == 0 && judge.anomalies.found == 0 {
            return Finding::new(
                self,
                Verdict::Unknown,
                "no node ever applied an entry, so nothing was shown",
            );
        }
        let nodes = evidence.traces.iter().filter(|trace| !trace.lines().is_empty()).count();
        let valid = format!("{} applied alike on {}", count(applied, "entry"), count(nodes, "node"));
        judge.anomalies.finding(self, evidence, valid).with_checked("applied", applied)
    }
}

struct Judge<'a> {
    evidence: &'a Evidence,
    anomalies: Anomalies,
    /// The first application at each index.
    entries: HashMap<LogIndex, (Digest, Place<'a>)>,
    /// The first state after each index.
    states: HashMap<LogIndex, (Digest, Place<'a>)>,
    /// The first term told for each committed or applied index.
    terms: HashMap<LogIndex, (Term, Place<'a>)>,
    progress: HashMap<NodeId, Progress<'a>>,
}

/// How far a node has come in its present life.
#[derive(Clone, Copy)]
struct Progress<'a> {
    applied: LogIndex,
    place: Place<'a>,
}

impl<'a> Judge<'a> {
    fn look(&mut self, place: Place<'a>, event: &TraceEvent) {
        match *event {
            TraceEvent::Boot { snapshot_index, .. } => {
                let start = Progress { applied: snapshot_index, place };
                self.progress.insert(place.node(), start);
            }
            TraceEvent::Commit { index, entry_term, .. } | TraceEvent::Snapshot { index, entry_term, .. } => {
                self.term(place, index, entry_term);
            }
            TraceEvent::Apply { index, entry_term, digest, state } => {
                self.apply_in_order(place, index);
                // From another entry follow another term and another state; one anomaly says it all.
                if self.same_entry(place, index, digest) {
                    self.term(place, index, entry_term);
                    self.state(place, index, state);
                }
            }
            TraceEvent::Restore { index, .. } => {
                if let Some(progress) = self.progress.get_mut(&place.node()) {
                    *progress = Progress { applied: index, place };
                }
            }
            TraceEvent::Term { .. }
            | TraceEvent::Role { .. }
            | TraceEvent::Vote { .. }
            | TraceEvent::Append { .. }
            | TraceEvent::Truncate { .. }
            | TraceEvent::Durable { .. }
            | TraceEvent::Members { .. }
            | TraceEvent::Aside(_) => {}
        }
    }

    /// Whether all have applied this entry at the index so far.
    fn same_entry(&mut self, place: Place<'a>, index: LogIndex, digest: Digest) -> bool {
        let (known, first) = *self.entries.entry(index).or_insert((digest, place));
        if known != digest {
            self.anomalies.add("two entries applied at one index", &[first, place], || {
                vec![
                    format!(
                        "{} and {} applied different entries at index {index}",
                        first.node(),
                        place.node()
                    ),
                    format!("{}: entry {known}", when(self.evidence, first)),
                    format!("{}: entry {digest}", when(self.evidence, place)),
                ]
            });
        }
        known == digest
    }

    fn state(&mut self, place: Place<'a>, index: LogIndex, state: Digest) {
        let (known, first) = *self.states.entry(index).or_insert((state, place));
        if known != state {
            self.anomalies.add("two states after one index", &[first, place], || {
                vec![
                    format!(
                        "{} and {} have different states after index {index}",
                        first.node(),
                        place.node()
                    ),
                    format!("{}: state {known}", when(self.evidence, first)),
                    format!("{}: state {state}", when(self.evidence, place)),
                ]
            });
        }
    }

    /// A committed entry is never replaced, so all nodes tell the same term of it.
    fn term(&mut self, place: Place<'a>, index: LogIndex, term: Term) {
        let (known, first) = *self.terms.entry(index).or_insert((term, place));
        if known != term {
            self.anomalies.add("two terms committed at one index", &[first, place], || {
                vec![
                    format!(
                        "index {index} was committed with an entry of term {known} and one of term {term}"
                    ),
                    format!("{}: term {known}", when(self.evidence, first)),
                    format!("{}: term {term}", when(self.evidence, place)),
                ]
            });
        }
    }

    fn apply_in_order(&mut self, place: Place<'a>, index: LogIndex) {
        let Some(progress) = self.progress.get_mut(&place.node()) else { return };
        let Progress { applied, place: before, .. } = *progress;
        progress.applied = index;
        progress.place = place;
        if index != applied + 1 {
            self.anomalies.add("applied out of order", &[before, place], || {
                vec![
                    format!("{} applied index {index} right after {applied}", when(self.evidence, place)),
                    "entries are applied one after the other, each once".to_owned(),
                ]
            });
        }
    }
}
