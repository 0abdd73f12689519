//! Members that are in no log any more.
//!
//! A configuration counts from when it is appended, so it must go when the entry goes. A node that forgets to go back
//! counts votes and copies of nodes that nobody else has heard of.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "members-not-rolled-back",
    about: "a node keeps the members of an entry that was cut off its log (thesis 4.1)",
    breaks: &["membership"],
    exposed_by: &["membership", "partition"],
    rules: &MembersNotRolledBack,
};

struct MembersNotRolledBack;

impl Rules for MembersNotRolledBack {
    fn truncation_restores_members(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
