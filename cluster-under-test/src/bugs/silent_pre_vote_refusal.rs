//! A refusal that nobody hears (P6).
//!
//! The node with the only complete log is behind in its term, asks, and is not told. The others cannot win
//! without its vote, and it cannot win without their term.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "silent-pre-vote-refusal",
    about: "a `PreVote` of a term that has passed gets no answer (P6)",
    breaks: &["recovery"],
    exposed_by: &["partition", "kill"],
    rules: &SilentPreVoteRefusal,
};

struct SilentPreVoteRefusal;

impl Rules for SilentPreVoteRefusal {
    fn answers_stale_pre_vote(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
