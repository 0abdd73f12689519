//! Raft's safety properties (Figure 3 of the paper) and the promises they rest on, judged from traces.
//!
//! Every checker looks at all nodes and at all their lives together: a property that only holds between two
//! restarts does not hold.

mod durable_commit;
mod durable_votes;
mod election_safety;
mod emptied;
mod leader_append_only;
mod leader_completeness;
mod log_matching;
pub(crate) mod log_view;
mod membership;
mod monotone;
mod snapshot_matches_log;
mod state_machine_safety;

pub use durable_commit::DurableCommit;
pub use durable_votes::DurableVotes;
pub use election_safety::ElectionSafety;
pub use leader_append_only::LeaderAppendOnly;
pub use leader_completeness::LeaderCompleteness;
pub use log_matching::LogMatching;
pub use membership::Membership;
pub use monotone::Monotone;
pub use snapshot_matches_log::SnapshotMatchesLog;
pub use state_machine_safety::StateMachineSafety;

use self::emptied::Emptied;
use crate::evidence::Evidence;
use crate::finding::{ANOMALIES_MAX, Anomaly, Checker, Finding, Verdict};
use crate::history::NodeId;
use crate::trace::{Place, Trace, TraceEvent};

/// All events of all nodes, node by node.
fn events(evidence: &Evidence) -> impl Iterator<Item = (Place<'_>, &TraceEvent)> {
    evidence.traces.iter().flat_map(Trace::events)
}

/// The nodes of the cluster that told nothing; whatever the others told, these may have broken any rule.
fn silent_nodes(evidence: &Evidence) -> Vec<String> {
    let told = |node: &NodeId| evidence.traces.iter().any(|t| t.node() == *node && !t.lines().is_empty());
    evidence.expectations.nodes.iter().filter(|node| !told(node)).map(NodeId::to_string).collect()
}

/// Nothing can be said about nodes that told nothing.
fn without_traces(checker: &dyn Checker, evidence: &Evidence) -> Option<Finding> {
    let told = |trace: &&Trace| !trace.lines().is_empty();
    let told = evidence.traces.iter().filter(told).count();
    (told == 0).then(|| Finding::new(checker, Verdict::Unknown, "no node left a trace"))
}

/// Nodes, for a reader: `n1 n2`.
pub(crate) fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// When and where an event happened, for a reader: `n2 at 1.204 s`.
fn when(evidence: &Evidence, place: Place<'_>) -> String {
    let time = place.at_ns().saturating_sub(evidence.history.header().origin_ns);
    format!("{} at {}", place.node(), crate::finding::seconds(time))
}

/// The anomalies of one checker, up to the number that a finding lists.
struct Anomalies {
    listed: Vec<Anomaly>,
    found: usize,
}

impl Anomalies {
    fn new() -> Self {
        Anomalies { listed: Vec::new(), found: 0 }
    }

    /// `text` is only built if it is going to be listed: a broken log has an anomaly for every entry.
    fn add(&mut self, title: &str, places: &[Place<'_>], text: impl FnOnce() -> Vec<String>) {
        self.found += 1;
        if self.listed.len() < ANOMALIES_MAX {
            let events = places.iter().map(Place::locate).collect();
            self.listed.push(Anomaly { title: title.to_owned(), text: text(), events });
        }
    }

    fn finding(self, checker: &dyn Checker, evidence: &Evidence, valid: String) -> Finding {
        let silent = silent_nodes(evidence);
        if self.found == 0 && !silent.is_empty() {
            let summary = format!("{} left no trace; the other nodes: {valid}", silent.join(" and "));
            return Finding::new(checker, Verdict::Unknown, summary);
        }
        Finding::from_anomalies(checker, self.listed, self.found, valid)
    }
}
