//! Election safety: at most one leader can be elected in a given term (Figure 3).
//!
//! That includes the same node twice. A leader that has stepped down or died was elected once, and what it does in a
//! second reign of the same term it does with a log that the first may have left elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::{Anomalies, events, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::history::NodeId;
use crate::trace::{Place, Role, Term, TraceEvent};

/// At most one leader a term, over all nodes and lives.
pub struct ElectionSafety;

impl Checker for ElectionSafety {
    fn name(&self) -> &'static str {
        "election-safety"
    }

    fn about(&self) -> &'static str {
        "at most one node leads in a term (Raft, Figure 3)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut leaders: BTreeMap<Term, Vec<Place<'_>>> = BTreeMap::new();
        // Nodes that lead at this point of their trace; telling it again is no second election.
        let mut leading: HashMap<NodeId, Term> = HashMap::new();
        for (place, event) in events(evidence) {
            match *event {
                TraceEvent::Role { role: Role::Leader, term } => {
                    let told_before = leading.insert(place.node(), term) == Some(term);
                    if !told_before {
                        leaders.entry(term).or_default().push(place);
                    }
                }
                TraceEvent::Role { .. } | TraceEvent::Boot { .. } => drop(leading.remove(&place.node())),
                _ => {}
            }
        }
        if leaders.is_empty() {
            // Otherwise a trace that lost its leaders would pass for a cluster without quarrels.
            return Finding::new(self, Verdict::Unknown, "no node ever led, so nothing was shown");
        }
        let mut anomalies = Anomalies::new();
        for (term, places) in leaders.iter().filter(|(_, places)| places.len() > 1) {
            let alone = places.iter().all(|place| place.node() == places[0].node());
            let title = if alone { "elected twice in a term" } else { "two leaders in a term" };
            anomalies.add(title, places, || {
                let mut nodes: Vec<String> = places.iter().map(|place| place.node().to_string()).collect();
                nodes.dedup();
                let headline = if alone {
                    format!("{} was elected {} times in term {term}", nodes[0], places.len())
                } else {
                    format!("{} each led term {term}", nodes.join(" and "))
                };
                let mut text = vec![headline];
                text.extend(
                    places.iter().map(|&place| format!("{} became its leader", when(evidence, place))),
                );
                text
            });
        }
        let valid = format!("{} in as many terms", count(leaders.len(), "leader"));
        anomalies.finding(self, evidence, valid).with_checked("terms", leaders.len())
    }
}
