//! A read index from before the election (R2).
//!
//! The leader is the right one and proves it, but its commit index is still that of a follower.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "read-before-commit",
    about: "a new leader serves reads before it has committed an entry of its term (R2)",
    breaks: &["linearizable"],
    exposed_by: &["kill"],
    rules: &ReadBeforeCommit,
};

struct ReadBeforeCommit;

impl Rules for ReadBeforeCommit {
    fn reads_wait_for_commit_of_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
