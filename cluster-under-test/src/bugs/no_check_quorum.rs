//! A leader that nobody answers (P12).
//!
//! It sends heartbeats and receives nothing: its followers stay loyal and no write is ever committed, as long
//! as the one-way cut lasts.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "no-check-quorum",
    about: "a leader never steps down for lack of answers (P12)",
    breaks: &["recovery"],
    exposed_by: &["partition"],
    rules: &NoCheckQuorum,
};

struct NoCheckQuorum;

impl Rules for NoCheckQuorum {
    fn leader_checks_quorum(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
