//! An acknowledgement of the wrong entries (C5).
//!
//! A former leader with a long tail answers a heartbeat with the end of its log; the leader counts copies
//! that are none, and never sends what it believes to be there.

use super::Bug;
use crate::raft::Index;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "ack-last-index",
    about: "a follower acknowledges its whole log instead of what was compared (C5)",
    breaks: &["recovery", "leader-completeness"],
    exposed_by: &["partition", "kill"],
    rules: &AckLastIndex,
};

struct AckLastIndex;

impl Rules for AckLastIndex {
    fn match_index(&self, checked: Index, last: Index) -> Index {
        checked.max(last)
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
