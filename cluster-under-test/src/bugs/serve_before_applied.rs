//! The right index, the wrong state (R7).
//!
//! A follower asks the leader for the read index, gets it, and answers from a state that is not there yet.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "serve-before-applied",
    about: "a follower serves a read at the leader's index before it has applied that far (R7)",
    breaks: &["linearizable"],
    exposed_by: &["partition", "pause"],
    rules: &ServeBeforeApplied,
};

struct ServeBeforeApplied;

impl Rules for ServeBeforeApplied {
    fn reads_wait_for_apply(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
