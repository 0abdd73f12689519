//! Lives that begin with an empty disk because a fault had emptied it. What a node called durable before is gone then, and
//! nobody broke a promise. The fault itself may be more than Raft survives, and whoever votes twice after it does so.

use crate::disturbance::wipes;
use crate::evidence::Evidence;
use crate::history::{NodeId, Time};
use crate::trace::{Place, TraceEvent};

/// Tells the lives of one node that begin with an emptied disk from the others.
pub(super) struct Emptied {
    wipes: Vec<(NodeId, Time)>,
    origin_ns: u64,
    /// When the event before was written.
    last: Time,
}

impl Emptied {
    pub(super) fn new(evidence: &Evidence) -> Self {
        Self { wipes: wipes(&evidence.history), origin_ns: evidence.history.header().origin_ns, last: 0 }
    }

    /// Whether a life begins here, and the node's disk was emptied since its event before. Asked for each event in turn.
    pub(super) fn before(&mut self, place: Place<'_>, event: &TraceEvent) -> bool {
        let now = place.at_ns().saturating_sub(self.origin_ns);
        let last = std::mem::replace(&mut self.last, now);
        let since = |&(node, at): &(NodeId, Time)| node == place.node() && (last..=now).contains(&at);
        matches!(event, TraceEvent::Boot { .. }) && self.wipes.iter().any(since)
    }
}
