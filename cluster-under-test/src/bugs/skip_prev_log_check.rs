//! Entries appended behind an entry that the leader does not have (C9).
//!
//! The index is compared and the term is not. A former leader with a tail that was never committed comes
//! back, and its new leader's entries are put behind that tail.

use super::Bug;
use crate::raft::Term;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "skip-prev-log-check",
    about: "a follower appends without comparing the term of the entry before (C9)",
    breaks: &["log-matching"],
    exposed_by: &["partition", "kill"],
    rules: &SkipPrevLogCheck,
};

struct SkipPrevLogCheck;

impl Rules for SkipPrevLogCheck {
    fn prev_log_matches(&self, own: Option<Term>, _prev: Term) -> bool {
        own.is_some()
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
