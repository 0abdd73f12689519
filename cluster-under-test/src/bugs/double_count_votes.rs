//! One voter, two votes (M5).
//!
//! Only a network that repeats messages shows it; between two nodes of one TCP connection none does, but a
//! candidate that asks again is answered again.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "double-count-votes",
    about: "a vote that arrives twice counts twice (M5)",
    breaks: &["election-safety"],
    exposed_by: &["duplicate"],
    rules: &DoubleCountVotes,
};

struct DoubleCountVotes;

impl Rules for DoubleCountVotes {
    fn counts_voter_once(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
