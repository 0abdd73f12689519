//! Monotone: what a node has reached it does not give up, over all its lives.
//!
//! Within a life the term and the commit index only grow (Figure 2: the term "increases monotonically", so does
//! the commit index). A restart begins with less, lawfully: a term or an entry that was not on disk yet is gone,
//! and the commit index is volatile. What a restart must find again is what the node had called durable: the log
//! up to there, unless it was cut since, and the last snapshot, unless a fault had emptied the disk. (Votes and terms promised to others are judged by
//! `durable-votes`; that entries are applied in order, by `state-machine-safety`.)

use super::{Anomalies, Emptied, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, count};
use crate::trace::{LogIndex, Place, Term, Trace, TraceEvent};

/// Terms, commit indexes, durable logs and snapshots never go back.
pub struct Monotone;

impl Checker for Monotone {
    fn name(&self) -> &'static str {
        "monotone"
    }

    fn about(&self) -> &'static str {
        "terms and commit indexes never go back, nor durable logs and snapshots over restarts (Raft, Figure 2)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut anomalies = Anomalies::new();
        let (mut restarts, mut steps) = (0, 0);
        for trace in &evidence.traces {
            let mut node = Watch::new(evidence);
            node.judge(trace, &mut anomalies);
            restarts += node.lives.saturating_sub(1);
            steps += node.steps;
        }
        let valid =
            format!("{} forward over {}, none back", count(steps, "step"), count(restarts, "restart"));
        anomalies
            .finding(self, evidence, valid)
            .with_checked("restarts", restarts)
            .with_checked("steps", steps)
    }
}

/// How far one node has come.
struct Watch<'a> {
    evidence: &'a Evidence,
    lives: usize,
    /// Terms entered, and moves of the commit index.
    steps: usize,
    /// Of this life.
    term: Term,
    /// Of this life, and the event that told it.
    commit: Option<(LogIndex, Place<'a>)>,
    /// The end of the log that every later life must find, and the event that showed it.
    durable: Option<(LogIndex, Place<'a>)>,
    /// The same for the snapshot.
    snapshot: Option<(LogIndex, Place<'a>)>,
}

impl<'a> Watch<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        Watch { evidence, lives: 0, steps: 0, term: 0, commit: None, durable: None, snapshot: None }
    }

    fn judge(&mut self, trace: &'a Trace, anomalies: &mut Anomalies) {
        let mut emptied = Emptied::new(self.evidence);
        for (place, event) in trace.events() {
            let is_empty = emptied.before(place, event);
            match *event {
                TraceEvent::Boot { term, snapshot_index, last_index, .. } => {
                    self.lives += 1;
                    if is_empty {
                        (self.durable, self.snapshot) = (None, None);
                    }
                    self.term = term;
                    self.commit = None;
                    self.found(place, anomalies, "log", self.durable, last_index);
                    self.found(place, anomalies, "snapshot", self.snapshot, snapshot_index);
                    // One loss is told once.
                    self.durable = Some((last_index, place));
                    self.snapshot = Some((snapshot_index, place));
                }
                TraceEvent::Term { term } => {
                    self.steps += 1;
                    self.enter(place, anomalies, term);
                }
                TraceEvent::Role { term, .. } | TraceEvent::Append { term, .. } => {
                    self.enter(place, anomalies, term);
                }
                TraceEvent::Commit { term, index, .. } => {
                    self.enter(place, anomalies, term);
                    self.steps += 1;
                    self.commit(place, anomalies, index);
                }
                TraceEvent::Truncate { from_index } => {
                    // Whether the cut reached the disk before a crash, nobody knows: only what is before it stays.
                    let kept = from_index.saturating_sub(1);
                    self.durable = self.durable.map(|(index, shown)| (index.min(kept), shown));
                }
                TraceEvent::Durable { index, .. } => {
                    if self.durable.is_none_or(|(durable, _)| durable < index) {
                        self.durable = Some((index, place));
                    }
                }
                TraceEvent::Snapshot { index, .. } => {
                    if self.snapshot.is_none_or(|(snapshot, _)| snapshot < index) {
                        self.snapshot = Some((index, place));
                    }
                }
                TraceEvent::Vote { .. }
                | TraceEvent::Apply { .. }
                | TraceEvent::Restore { .. }
                | TraceEvent::Members { .. }
                | TraceEvent::Aside(_) => {}
            }
        }
    }

    fn enter(&mut self, place: Place<'a>, anomalies: &mut Anomalies, term: Term) {
        let from = std::mem::replace(&mut self.term, term);
        if term < from {
            anomalies.add("term went back", &[place], || {
                vec![format!("{} went back from term {from} to {term}", when(self.evidence, place))]
            });
        }
    }

    fn commit(&mut self, place: Place<'a>, anomalies: &mut Anomalies, index: LogIndex) {
        let before = self.commit.replace((index, place));
        let Some((committed, shown)) = before.filter(|(committed, _)| *committed > index) else { return };
        anomalies.add("commit index went back", &[shown, place], || {
            vec![
                format!(
                    "{} set its commit index back from {committed} to {index}",
                    when(self.evidence, place)
                ),
                format!("{} had set it to {committed}", when(self.evidence, shown)),
            ]
        });
    }

    /// What a new life finds, against what an earlier one had called durable.
    fn found(
        &self,
        place: Place<'a>,
        anomalies: &mut Anomalies,
        what: &str,
        known: Option<(LogIndex, Place<'a>)>,
        found: LogIndex,
    ) {
        let Some((index, shown)) = known.filter(|(index, _)| *index > found) else { return };
        let title = if what == "log" { "durable entries lost" } else { "durable snapshot lost" };
        anomalies.add(title, &[shown, place], || {
            vec![
                format!(
                    "{} found a {what} up to {found} on its disk, not {index}",
                    when(self.evidence, place)
                ),
                format!("{}: {what} durable up to {index}", when(self.evidence, shown)),
            ]
        });
    }
}
