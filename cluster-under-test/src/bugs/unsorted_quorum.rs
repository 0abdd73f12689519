//! A median that forgot to sort (C13).
//!
//! With all followers level the middle is right whatever the order; with one of them ahead, two copies of
//! five commit.

use super::Bug;
use crate::raft::Index;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "unsorted-quorum",
    about: "the commit index is the middle of the match indexes as they stand, unsorted (C13)",
    breaks: &["durable-commit", "linearizable", "leader-completeness"],
    exposed_by: &["partition", "delay"],
    rules: &UnsortedQuorum,
};

struct UnsortedQuorum;

impl Rules for UnsortedQuorum {
    fn quorum_index(&self, matched: &[Index]) -> Index {
        matched[matched.len() / 2]
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
