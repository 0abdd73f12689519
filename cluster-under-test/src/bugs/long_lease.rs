//! A lease longer than the promise it rests on (R5).
//!
//! Followers keep from voting for one election timeout; a lease of three of them is held against a new leader.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "long-lease",
    about: "a lease lasts for three election timeouts (R5)",
    breaks: &["linearizable"],
    exposed_by: &["partition"],
    rules: &LongLease,
};

struct LongLease;

impl Rules for LongLease {
    fn lease_ms(&self, granted_ms: u64) -> u64 {
        3 * granted_ms
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
