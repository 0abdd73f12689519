//! Reads from a leader that may have been replaced (R1).
//!
//! The oldest shortcut: a read costs no round trip, and is right as long as nothing goes wrong. A leader that
//! is cut off or paused answers with what was true before its successor's writes.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "stale-read",
    about: "a leader serves reads at once from its own state, without asking whether it still leads (R1)",
    breaks: &["linearizable"],
    exposed_by: &["partition", "pause"],
    rules: &StaleRead,
};

struct StaleRead;

impl Rules for StaleRead {
    fn confirms_leadership_for_reads(&self) -> bool {
        false
    }

    fn reads_wait_for_commit_of_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
