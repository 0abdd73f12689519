//! Election safety: at most one leader can be elected in a given term (Figure 3).

use std::collections::BTreeMap;

use super::{Anomalies, events, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
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
        for (place, event) in events(evidence) {
            if let &TraceEvent::Role { role: Role::Leader, term } = event {
                let places = leaders.entry(term).or_default();
                if places.iter().all(|known| known.node() != place.node()) {
                    places.push(place);
                }
            }
        }
        if leaders.is_empty() {
            // Otherwise a trace that lost its leaders would pass for a cluster without quarrels.
            return Finding::new(self, Verdict::Unknown, "no node ever led, so nothing was shown");
        }
        let mut anomalies = Anomalies::new();
        for (term, places) in leaders.iter().filter(|(_, places)| places.len() > 1) {
            anomalies.add("two leaders in a term", places, || {
                let nodes: Vec<String> = places.iter().map(|place| place.node().to_string()).collect();
                let mut text = vec![format!("{} each led term {term}", nodes.join(" and "))];
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
