//! Leader completeness: if an entry is committed in a given term, it is present in the logs of the leaders of
//! all higher-numbered terms (Figure 3).

use std::collections::BTreeMap;

use super::log_view::{Holding, LogView};
use super::{Anomalies, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::trace::{LogIndex, Place, Role, Term, TraceEvent};

/// Every leader holds what was committed in earlier terms.
pub struct LeaderCompleteness;

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader-completeness"
    }

    fn about(&self) -> &'static str {
        "a leader's log holds every entry committed in earlier terms (Raft, Figure 3)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let committed = committed(evidence);
        let mut anomalies = Anomalies::new();
        let mut leaders = 0;
        for trace in &evidence.traces {
            let mut log = LogView::default();
            for (place, event) in trace.events() {
                log.follow(event);
                if let &TraceEvent::Role { role: Role::Leader, term } = event {
                    leaders += 1;
                    judge_leader(evidence, &committed, &log, term, place, &mut anomalies);
                }
            }
        }
        if leaders == 0 {
            return Finding::new(self, Verdict::Unknown, "no node ever led, so nothing was shown");
        }
        if committed.is_empty() {
            return Finding::new(self, Verdict::Unknown, "nothing was ever committed, so nothing was shown");
        }
        let valid = format!("{} began with all that was committed before", count(leaders, "leader"),);
        anomalies
            .finding(self, evidence, valid)
            .with_checked("leaders", leaders)
            .with_checked("committed", committed.len())
    }
}

/// An entry that was committed.
#[derive(Clone, Copy)]
struct Committed<'a> {
    /// The entry's own term.
    entry_term: Term,
    /// The earliest term in which a node said that it is committed. The leader that committed it says so in
    /// its own term; others may learn of it later, which only makes the rule milder.
    term: Term,
    place: Place<'a>,
}

fn committed(evidence: &Evidence) -> BTreeMap<LogIndex, Committed<'_>> {
    let mut committed: BTreeMap<LogIndex, Committed<'_>> = BTreeMap::new();
    for trace in &evidence.traces {
        let mut log = LogView::default();
        let mut commit_index = 0;
        for (place, event) in trace.events() {
            log.follow(event);
            match *event {
                TraceEvent::Boot { snapshot_index, .. } => commit_index = snapshot_index,
                TraceEvent::Restore { index, .. } => commit_index = commit_index.max(index),
                TraceEvent::Commit { term, index, entry_term } => {
                    // What is before the entry is committed with it, if the view shows the log that holds it.
                    let known = log.term(index) == Some(entry_term);
                    let before = known.then(|| log.terms(commit_index, index)).into_iter().flatten();
                    for (at, entry_term) in before.chain([(index, entry_term)]) {
                        let fresh = Committed { entry_term, term, place };
                        let entry = committed.entry(at).or_insert(fresh);
                        if fresh.term < entry.term {
                            *entry = fresh;
                        }
                    }
                    commit_index = index;
                }
                _ => {}
            }
        }
    }
    committed
}

fn judge_leader(
    evidence: &Evidence,
    committed: &BTreeMap<LogIndex, Committed<'_>>,
    log: &LogView,
    term: Term,
    place: Place<'_>,
    anomalies: &mut Anomalies,
) {
    for (index, entry) in committed.iter().filter(|(_, entry)| entry.term < term) {
        let problem = match log.holding(*index) {
            Holding::Term(held) if held != entry.entry_term => {
                format!("holds an entry of term {held} at index {index}")
            }
            Holding::Missing { last } => format!("has a log that ends at {last}"),
            Holding::Term(_) | Holding::Unknown => continue,
        };
        anomalies.add("leader without a committed entry", &[entry.place, place], || {
            vec![
                format!("{} became leader of term {term} and {problem}", when(evidence, place)),
                format!(
                    "entry {index} of term {} was committed in term {}: {}",
                    entry.entry_term,
                    entry.term,
                    when(evidence, entry.place)
                ),
            ]
        });
        // What follows in the log is missing for the same reason.
        return;
    }
}
