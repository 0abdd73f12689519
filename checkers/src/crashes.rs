//! Crashes: no node may die by itself.
//!
//! A node that panics, often on a state that another anomaly has corrupted, is a finding about the node. One
//! that the machine ended (disk full, out of memory) says nothing about it: such a run counts neither way.

use crate::evidence::Evidence;
use crate::finding::{ANOMALIES_MAX, Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{Event, EventIndex};

/// No node dies by itself.
pub struct Crashes;

impl Checker for Crashes {
    fn name(&self) -> &'static str {
        "crashes"
    }

    fn about(&self) -> &'static str {
        "no node dies by itself"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        let mut crashes = Vec::new();
        let mut others = Vec::new();
        for (index, event) in evidence.history.events().iter().enumerate() {
            let Event::Death { time, node, status, crash, log } = event else { continue };
            let mut text = vec![format!("{node} died at {} with {status}", seconds(*time))];
            text.extend(log.iter().map(|line| format!("{node}: {line}")));
            let title = if *crash { "node died by itself" } else { "node ended by its surroundings" };
            let anomaly = Anomaly {
                title: title.to_owned(),
                text,
                events: vec![evidence.history.locate(EventIndex(index))],
            };
            if *crash { crashes.push(anomaly) } else { others.push(anomaly) }
        }
        let deaths = crashes.len() + others.len();
        let finding = if crashes.is_empty() && !others.is_empty() {
            let summary = format!(
                "{} ended for want of disk, memory or the like: {}; the run counts neither way",
                count(others.len(), "node"),
                others[0].text[0],
            );
            others.truncate(ANOMALIES_MAX);
            Finding { anomalies: others, ..Finding::new(self, Verdict::Unknown, summary) }
        } else {
            let found = crashes.len();
            Finding::from_anomalies(self, crashes, found, "no node died by itself")
        };
        finding.with_checked("deaths", deaths)
    }
}
