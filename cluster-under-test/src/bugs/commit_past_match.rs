//! A commit index without the `min` (C4).
//!
//! A former leader comes back with a tail; the first heartbeat names a commit index that its own entries
//! happen to reach, and it applies them.

use super::Bug;
use crate::raft::Index;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "commit-past-match",
    about: "a follower takes over the leader's commit index for entries that were not compared (C4)",
    breaks: &["state-machine-safety", "durable-commit"],
    exposed_by: &["partition", "kill"],
    rules: &CommitPastMatch,
};

struct CommitPastMatch;

impl Rules for CommitPastMatch {
    fn follower_commit(&self, leader: Index, checked: Index, last: Index) -> Index {
        leader.min(last.max(checked))
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
