//! A write acknowledged by its leader alone (C3).
//!
//! The leader is cut off, acknowledges, and its successor never hears of the entry.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "ack-before-commit",
    about: "a leader answers a write as soon as it is in its own log (C3)",
    breaks: &["linearizable"],
    exposed_by: &["partition", "kill"],
    rules: &AckBeforeCommit,
};

struct AckBeforeCommit;

impl Rules for AckBeforeCommit {
    fn answers_after_commit(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
