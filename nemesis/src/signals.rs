//! What a cluster shows of itself while a run goes on: who leads, what each node has logged and answered so far.
//!
//! Triggers are judged by it, and nothing else is: it lags behind the nodes by some milliseconds, and a system without
//! a trace shows less of it. Everything in it only counts up or is the newest seen, so taking it is a copy of a few
//! numbers, and two of them tell what happened in between.

use std::collections::BTreeMap;

use checkers::history::NodeId;

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The node that leads the highest term known, if it is up.
    pub leader: Option<NodeId>,
    /// Leaders elected since boot, each of a term higher than the one before.
    pub elections: u64,
    /// What is known of each node.
    pub nodes: BTreeMap<NodeId, NodeSignals>,
}

/// One node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSignals {
    /// Operations that clients were answered through it.
    pub acknowledged: u64,
    /// The last entry of its log.
    pub last_index: u64,
    /// The last entry that it knows to be committed.
    pub commit_index: u64,
    /// How often each event stood in its trace; roles count once more as `role leader`, `role candidate`, ….
    pub events: BTreeMap<String, u64>,
}

impl Signals {
    /// What is known of a node; nothing yet, if it was never heard of.
    pub(crate) fn of(&self, node: NodeId) -> NodeSignals {
        self.nodes.get(&node).cloned().unwrap_or_default()
    }

    /// Operations that clients were answered, through all nodes.
    pub fn acknowledged(&self) -> u64 {
        self.nodes.values().map(|node| node.acknowledged).sum()
    }

    /// How far the commit indexes of the nodes lie apart.
    pub(crate) fn commit_spread(&self) -> u64 {
        let commits = || self.nodes.values().map(|node| node.commit_index);
        commits().max().unwrap_or(0) - commits().min().unwrap_or(0)
    }
}

impl NodeSignals {
    /// Entries of its log that it does not know to be committed.
    pub(crate) fn uncommitted(&self) -> u64 {
        self.last_index.saturating_sub(self.commit_index)
    }

    /// How often an event, or a role as `role leader`, stood in its trace.
    pub(crate) fn seen(&self, event: &str) -> u64 {
        self.events.get(event).copied().unwrap_or(0)
    }
}
