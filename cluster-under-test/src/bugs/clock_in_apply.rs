//! A state machine that is not deterministic (K5).
//!
//! It stands for every apply that reads a clock, a random number or the order of a hash map: same log,
//! different states.

use super::Bug;
use crate::raft::NodeId;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "clock-in-apply",
    about: "the state machine mixes something of its own node into what it applies (K5)",
    breaks: &["state-machine-safety", "snapshot-matches-log"],
    exposed_by: &["kill"],
    rules: &ClockInApply,
};

struct ClockInApply;

impl Rules for ClockInApply {
    fn state_salt(&self, node: NodeId) -> u64 {
        // Any injective function that is never 0 will do.
        node.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
