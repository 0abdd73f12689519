//! What a step waits for once its time has come.
//!
//! A fault aimed at the leader misses if it falls into an election. With a trigger the step waits until its
//! condition holds, for a bounded time; if it never holds, the step is skipped with the reason. Wall time remains
//! the anchor, so that a plan without triggers is simply a timetable.

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;

/// A condition, and how long to wait for it. In a plan: `{"when": "leader-known", "within_ms": 3000}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// What must hold.
    pub when: Condition,
    /// How long after the step's time it is waited for.
    pub within_ms: u64,
}

/// A condition on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Some node is known to lead.
    LeaderKnown,
}

impl Trigger {
    /// Waits for a leader: three seconds see two rounds of an election with the usual timeout of a second.
    pub const LEADER_KNOWN: Self = Self { when: Condition::LeaderKnown, within_ms: 3_000 };
}

impl Condition {
    /// Whether it holds now.
    pub fn holds(self, cluster: &dyn Cluster) -> bool {
        match self {
            Self::LeaderKnown => cluster.leader().is_some(),
        }
    }

    /// What is said when it never held.
    pub fn missed(self) -> &'static str {
        match self {
            Self::LeaderKnown => "no leader was known",
        }
    }
}
