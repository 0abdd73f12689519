//! Figure 8 of the paper (C1).
//!
//! An entry of an older term on a majority looks committed. A node with a newer last term can still win and
//! overwrite it. Too rare for random schedules; the directed story is among the golden ones.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "commit-old-term",
    about: "a leader commits entries of former terms by counting their copies (C1)",
    breaks: &["state-machine-safety", "leader-completeness"],
    exposed_by: &["kill"],
    rules: &CommitOldTerm,
};

struct CommitOldTerm;

impl Rules for CommitOldTerm {
    fn commits_only_current_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
