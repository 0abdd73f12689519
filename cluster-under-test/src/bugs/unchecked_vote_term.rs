//! A vote of yesterday counted today (M4).
//!
//! A grant of the last election arrives after the next has begun. Its sender may have voted for somebody else
//! by now.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "unchecked-vote-term",
    about: "a candidate counts votes that were given in an older term (M4)",
    breaks: &["election-safety"],
    exposed_by: &["delay", "reorder"],
    rules: &UncheckedVoteTerm,
};

struct UncheckedVoteTerm;

impl Rules for UncheckedVoteTerm {
    fn checks_term_of_votes(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
