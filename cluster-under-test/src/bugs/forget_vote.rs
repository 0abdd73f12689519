//! A vote that a restart forgets (M1).
//!
//! The term is on disk and the vote is not. Two leaders in one term need a voter that dies between two
//! candidates, which is rare; the broken promise itself is in every trace of a voter that was restarted in
//! the term of its vote.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "forget-vote",
    about: "the vote is not written to disk, so a restarted voter votes again in the same term (M1)",
    breaks: &["durable-votes"],
    exposed_by: &["kill"],
    rules: &ForgetVote,
};

struct ForgetVote;

impl Rules for ForgetVote {
    fn persists_vote(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
