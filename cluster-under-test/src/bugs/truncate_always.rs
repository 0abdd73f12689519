//! An old `Append` that takes back newer entries (C8).
//!
//! The follower has acknowledged them, so the leader counts on copies that are gone.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "truncate-always",
    about: "a follower drops all entries behind those of an `Append`, though they do not conflict (C8)",
    breaks: &["durable-commit", "linearizable", "leader-completeness"],
    exposed_by: &["delay", "duplicate"],
    rules: &TruncateAlways,
};

struct TruncateAlways;

impl Rules for TruncateAlways {
    fn truncates_only_at_conflict(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
