//! A successor that lacks entries (thesis §3.10).
//!
//! It is told to campaign at once, loses to the better logs of those it asks, and has deposed a working leader.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "transfer-to-laggard",
    about: "a leader hands over to a node that does not have its whole log yet (thesis 3.10)",
    breaks: &["recovery"],
    exposed_by: &["transfer"],
    rules: &TransferToLaggard,
};

struct TransferToLaggard;

impl Rules for TransferToLaggard {
    fn transfer_waits_for_catch_up(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
