//! A term that begins in silence (C12).
//!
//! The commit index of a new leader may lie behind what its predecessor acknowledged until an entry of its
//! own term is committed. Without the empty entry it neither catches up nor can it know, so this bug does not
//! wait for it either.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "no-noop",
    about: "a new leader appends no empty entry and serves reads by a commit index of the former term (C12)",
    breaks: &["linearizable"],
    exposed_by: &["kill"],
    rules: &NoNoop,
};

struct NoNoop;

impl Rules for NoNoop {
    fn appends_noop(&self) -> bool {
        false
    }

    fn reads_wait_for_commit_of_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
