//! Crashes: no node may die by itself.
//!
//! A node that panics, often on a state that another anomaly has corrupted, is a finding about the node. One
//! that the machine ended (disk full, out of memory) says nothing about it: such a run counts neither way.
//!
//! A node may stop itself where a fault lets its disk refuse: after a failed sync nobody knows what is on the disk, and
//! to go on would be a guess. To panic there is still a crash.

use crate::disturbance::disturbances;
use crate::evidence::Evidence;
use crate::finding::{ANOMALIES_MAX, Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{Event, EventIndex, History, NodeId, Time};

/// Faults under which a node may stop itself.
const MAY_STOP: [&str; 4] = ["disk-eio", "fsync-error", "disk-full", "bit-flip"];

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
        let mut stopped = 0;
        let refusals = refusals(&evidence.history);
        for (index, event) in evidence.history.events().iter().enumerate() {
            let Event::Death { time, node, status, crash, log } = event else { continue };
            if !*crash && refusals.iter().any(|refusal| refusal.excuses(*node, *time)) {
                stopped += 1;
                continue;
            }
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
        finding.with_checked("deaths", deaths).with_checked("nodes stopped by their disks", stopped)
    }
}

/// A time in which the disks of some nodes refused.
struct Refusal {
    nodes: Vec<NodeId>,
    from: Time,
    until: Option<Time>,
}

impl Refusal {
    fn excuses(&self, node: NodeId, death: Time) -> bool {
        self.nodes.contains(&node) && death >= self.from && self.until.is_none_or(|until| death <= until)
    }
}

fn refusals(history: &History) -> Vec<Refusal> {
    let of_disks = disturbances(history).into_iter().filter(|fault| MAY_STOP.contains(&fault.fault.as_str()));
    let refusal = |fault: crate::disturbance::Disturbance| {
        // It is stamped when its evidence has been taken, and a node may have stopped by then. But the nemesis does one
        // thing at a time, so it began after whatever was recorded before it.
        let before = history.events().iter().filter_map(|event| match event {
            Event::Fault { time, .. } if *time < fault.began => Some(*time),
            _ => None,
        });
        let from = before.max().unwrap_or_default();
        Refusal { nodes: fault.nodes, from, until: fault.ended }
    };
    of_disks.map(refusal).collect()
}
