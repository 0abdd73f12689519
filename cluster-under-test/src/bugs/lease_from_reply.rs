//! A lease that counts from when the answer came (R8).
//!
//! The follower's promise counts from when it heard. An answer that was long under way makes a lease that outlives it.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "lease-from-reply",
    about: "a lease begins when the answers arrive, not when the question was sent (R8)",
    breaks: &["linearizable"],
    exposed_by: &["delay", "partition", "pause"],
    rules: &LeaseFromReply,
};

struct LeaseFromReply;

impl Rules for LeaseFromReply {
    fn lease_begins_at_send(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
