//! Quorums that need not meet (M6).
//!
//! Of five nodes two are enough, and two more: both halves of a split elect a leader and commit.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "half-quorum",
    about: "half of the voters, rounded down, count as a quorum (M6)",
    breaks: &["durable-commit", "election-safety"],
    exposed_by: &["partition"],
    rules: &HalfQuorum,
};

struct HalfQuorum;

impl Rules for HalfQuorum {
    fn is_quorum(&self, votes: usize, voters: usize) -> bool {
        votes >= (voters / 2).max(1)
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
