//! What a run leaves for the checkers: its history, the traces of its nodes, and what it was meant to show.

use serde::{Deserialize, Serialize};

use crate::bounds::Bound;
use crate::history::{History, NodeId, OpKind};
use crate::trace::Trace;

/// All that a checker may look at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What clients asked and were told, and what was done to the cluster.
    pub history: History,
    /// What the nodes told about themselves; empty for a system without traces.
    pub traces: Vec<Trace>,
    /// What the run was meant to show.
    pub expectations: Expectations,
}

/// What a run must have exercised for its verdict to mean anything. Part of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// The nodes of the cluster; each must serve again after the heal.
    pub nodes: Vec<NodeId>,
    /// The kinds of operation of which at least one must have succeeded.
    pub operation_kinds: Vec<OpKind>,
    /// The least number of operations that must have succeeded.
    pub ok_operations_min: u64,
    /// The faults that must have been installed.
    pub faults: Vec<ExpectedFault>,
    /// The situations that the run aims at; it shows nothing about one that it misses.
    #[serde(default)]
    pub situations: Vec<String>,
    /// The time after the heal within which each node must complete an operation.
    pub recovery_limit_ms: u64,
    /// Whether the history must reach the end of the run.
    pub complete: bool,
    /// What the system promises its clients.
    #[serde(default)]
    pub consistency: Consistency,
    /// The longest time for which a node may leave a kind of operation unserved while a majority is up and connected;
    /// without it such times are told and not judged.
    #[serde(default)]
    pub unavailable_max_ms: Option<u64>,
    /// What the run's scenario allows and demands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<Bound>,
}

/// What a system promises its clients. It decides which checker judges the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Operations happen one at a time, in real-time order; transactions likewise.
    #[default]
    Linearizable,
    /// Operations happen one at a time, each process's own in its order.
    Sequential,
    /// Updates are linearizable; a read may show what was overwritten at most so many milliseconds before it.
    StaleWithinMs(u64),
}

/// A fault that must have been installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFault {
    /// Its name in the history.
    pub name: String,
    /// At least so often.
    pub times: u64,
}
