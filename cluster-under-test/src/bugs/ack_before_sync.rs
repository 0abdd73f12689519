//! A promise made in memory (C2).
//!
//! A write is acknowledged by a majority that has not stored it. When the lights go out everywhere at once,
//! it is gone.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "ack-before-sync",
    about: "a follower acknowledges entries before they are on disk (C2)",
    breaks: &["durable-commit", "linearizable", "leader-completeness"],
    exposed_by: &["kill", "power-loss"],
    rules: &AckBeforeSync,
};

struct AckBeforeSync;

impl Rules for AckBeforeSync {
    fn syncs_before_ack(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
