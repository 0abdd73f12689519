//! A leader that has removed itself and goes on (thesis §4.2.2).
//!
//! It has to see its removal through, but as nobody: counted as a copy, it makes a majority out of a minority of those
//! who remain.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "removed-leader-counts-itself",
    about: "a leader that was removed counts its own copy and does not step down (thesis 4.2.2)",
    breaks: &["durable-commit"],
    exposed_by: &["membership"],
    rules: &RemovedLeaderCountsItself,
};

struct RemovedLeaderCountsItself;

impl Rules for RemovedLeaderCountsItself {
    fn counts_itself_when_removed(&self) -> bool {
        true
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
