//! A change of the members before anything is committed in the leader's term (B1).
//!
//! The thesis itself allowed it until 2015. Two leaders in a row each append a change to the same configuration, and the
//! majorities of the two outcomes need not meet: what one commits, the other overwrites.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "change-before-commit",
    about: "a new leader changes the members before it has committed an entry of its term (B1)",
    breaks: &["membership"],
    exposed_by: &["membership", "partition"],
    rules: &ChangeBeforeCommit,
};

struct ChangeBeforeCommit;

impl Rules for ChangeBeforeCommit {
    fn changes_wait_for_commit_of_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
