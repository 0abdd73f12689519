//! A vote forgotten in the term it was given (M3).
//!
//! A candidate hears from the winner of its own term, becomes a follower, and is ready to vote once more.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "clear-vote-on-step-down",
    about: "a candidate that steps down without a new term forgets its vote (M3)",
    breaks: &["durable-votes", "election-safety"],
    exposed_by: &["delay", "partition"],
    rules: &ClearVoteOnStepDown,
};

struct ClearVoteOnStepDown;

impl Rules for ClearVoteOnStepDown {
    fn keeps_vote_on_step_down(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
