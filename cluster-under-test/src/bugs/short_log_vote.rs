//! A vote without the vote restriction (M7, M8).
//!
//! The first to ask wins, even if it slept through the last thousand commits, and then overwrites them.

use super::Bug;
use crate::rules::{LogEnd, Rules};

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "short-log-vote",
    about: "a voter does not compare logs and votes for a candidate that lacks committed entries (M7, M8)",
    breaks: &["leader-completeness", "linearizable"],
    exposed_by: &["kill", "partition"],
    rules: &ShortLogVote,
};

struct ShortLogVote;

impl Rules for ShortLogVote {
    fn is_up_to_date(&self, _candidate: LogEnd, _voter: LogEnd) -> bool {
        true
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
