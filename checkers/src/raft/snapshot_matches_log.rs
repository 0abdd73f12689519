//! Snapshot matches log: a snapshot stands for exactly the entries that it replaces (§7).
//!
//! It is taken of a state that was applied, its last index and term are those of the entry applied there, and
//! whoever starts from it is in the state that the entries would have led to. Equal states have equal encodings,
//! so all snapshots up to one index are equal too, whoever took them.

use std::collections::HashMap;

use super::{Anomalies, events, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::history::NodeId;
use crate::trace::{Digest, LogIndex, Place, SnapshotOrigin, Term, TraceEvent};

/// Snapshots have the index, the term and the state of what was applied.
pub struct SnapshotMatchesLog;

impl Checker for SnapshotMatchesLog {
    fn name(&self) -> &'static str {
        "snapshot-matches-log"
    }

    fn about(&self) -> &'static str {
        "a snapshot has the last index, the last term and the state of the entries that it replaces (Raft, section 7)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut judge = Judge {
            evidence,
            applied: applied(evidence),
            anomalies: Anomalies::new(),
            encodings: HashMap::new(),
            reached: HashMap::new(),
            snapshots: 0,
            restores: 0,
        };
        for (place, event) in events(evidence) {
            judge.look(place, event);
        }
        let (snapshots, restores) = (judge.snapshots, judge.restores);
        if snapshots + restores == 0 {
            // A short run takes none. That is no lack: the rule says what snapshots must be, not that there are any.
            return Finding::new(self, Verdict::Valid, "no snapshot was taken").with_checked("snapshots", 0);
        }
        let valid = format!(
            "{} and {} agree with what was applied",
            count(snapshots, "snapshot"),
            count(restores, "restore")
        );
        judge
            .anomalies
            .finding(self, evidence, valid)
            .with_checked("snapshots", snapshots)
            .with_checked("restores", restores)
    }
}

/// What the first application at an index showed.
#[derive(Clone, Copy)]
struct Applied<'a> {
    term: Term,
    state: Digest,
    place: Place<'a>,
}

/// The first application at each index that any node told. That the others agree is for `state-machine-safety`.
fn applied(evidence: &Evidence) -> HashMap<LogIndex, Applied<'_>> {
    let mut applied: HashMap<LogIndex, Applied<'_>> = HashMap::new();
    for (place, event) in events(evidence) {
        if let &TraceEvent::Apply { index, entry_term: term, state, .. } = event {
            let first = applied.entry(index).or_insert(Applied { term, state, place });
            if place.at_ns() < first.place.at_ns() {
                *first = Applied { term, state, place };
            }
        }
    }
    applied
}

struct Judge<'a> {
    evidence: &'a Evidence,
    applied: HashMap<LogIndex, Applied<'a>>,
    anomalies: Anomalies,
    /// The first snapshot up to each index.
    encodings: HashMap<LogIndex, (Digest, Place<'a>)>,
    /// How far each node's state machine is in its present life.
    reached: HashMap<NodeId, LogIndex>,
    snapshots: usize,
    restores: usize,
}

impl<'a> Judge<'a> {
    fn look(&mut self, place: Place<'a>, event: &TraceEvent) {
        match *event {
            TraceEvent::Boot { snapshot_index, .. } => {
                self.reached.insert(place.node(), snapshot_index);
            }
            TraceEvent::Apply { index, .. } => {
                self.reached.insert(place.node(), index);
            }
            TraceEvent::Restore { index, state } => {
                self.restores += 1;
                self.reached.insert(place.node(), index);
                self.restored(place, index, state);
            }
            TraceEvent::Snapshot { index, entry_term, origin, data } => {
                self.snapshots += 1;
                if origin == SnapshotOrigin::Taken {
                    self.taken(place, index);
                }
                self.last_term(place, index, entry_term);
                self.encoding(place, index, data);
            }
            TraceEvent::Term { .. }
            | TraceEvent::Role { .. }
            | TraceEvent::Vote { .. }
            | TraceEvent::Append { .. }
            | TraceEvent::Truncate { .. }
            | TraceEvent::Durable { .. }
            | TraceEvent::Commit { .. }
            | TraceEvent::Members { .. }
            | TraceEvent::Aside(_) => {}
        }
    }

    /// A node can only take a snapshot of what it has applied.
    fn taken(&mut self, place: Place<'a>, index: LogIndex) {
        let Some(&reached) = self.reached.get(&place.node()).filter(|reached| **reached < index) else {
            return;
        };
        self.anomalies.add("snapshot of what was not applied", &[place], || {
            vec![format!(
                "{} had taken a snapshot up to index {index}, but had applied only up to {reached}",
                when(self.evidence, place)
            )]
        });
    }

    fn last_term(&mut self, place: Place<'a>, index: LogIndex, term: Term) {
        let Some(&applied) = self.applied.get(&index).filter(|applied| applied.term != term) else { return };
        self.anomalies.add("snapshot ends with another term", &[applied.place, place], || {
            vec![
                format!(
                    "{}: snapshot up to index {index} says term {term}, the entry there has term {}",
                    when(self.evidence, place),
                    applied.term
                ),
                format!(
                    "{} applied entry {index} of term {}",
                    when(self.evidence, applied.place),
                    applied.term
                ),
            ]
        });
    }

    fn encoding(&mut self, place: Place<'a>, index: LogIndex, data: Digest) {
        let (known, first) = *self.encodings.entry(index).or_insert((data, place));
        if known == data {
            return;
        }
        self.anomalies.add("two snapshots up to one index", &[first, place], || {
            vec![
                format!("{} and {} have different snapshots up to index {index}", first.node(), place.node()),
                format!("{}: data {known}", when(self.evidence, first)),
                format!("{}: data {data}", when(self.evidence, place)),
            ]
        });
    }

    fn restored(&mut self, place: Place<'a>, index: LogIndex, state: Digest) {
        let Some(&applied) = self.applied.get(&index).filter(|applied| applied.state != state) else {
            return;
        };
        self.anomalies.add("snapshot holds another state", &[applied.place, place], || {
            vec![
                format!(
                    "{} restored a state up to index {index} that is not the one after applying it",
                    when(self.evidence, place)
                ),
                format!("{}: state {} after applying", when(self.evidence, applied.place), applied.state),
                format!("{}: state {state} after restoring", when(self.evidence, place)),
            ]
        });
    }
}
