//! A change of the members while the one before it is not committed.
//!
//! Each change moves the majority by one node at most; two move it past where the old one lies.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "two-changes-at-once",
    about: "a leader changes the members again before the last change is committed (thesis 4.1)",
    breaks: &["membership"],
    exposed_by: &["membership", "partition"],
    rules: &TwoChangesAtOnce,
};

struct TwoChangesAtOnce;

impl Rules for TwoChangesAtOnce {
    fn changes_one_at_a_time(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
