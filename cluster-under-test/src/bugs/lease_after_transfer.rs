//! A lease that outlives a transfer of leadership (R6).
//!
//! The campaign of a transfer does not wait for the voters' promise, so the promise is void and with it the lease.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "lease-after-transfer",
    about: "a leader that hands over goes on serving reads by its lease (R6)",
    breaks: &["linearizable"],
    exposed_by: &["transfer"],
    rules: &LeaseAfterTransfer,
};

struct LeaseAfterTransfer;

impl Rules for LeaseAfterTransfer {
    fn transfer_ends_lease(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
