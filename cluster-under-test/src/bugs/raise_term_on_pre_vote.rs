//! A question that changes the answerer (P2).
//!
//! The leader's term is overtaken by every node that merely asks. Histories stay linearizable; terms and
//! leaderless time tell.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "raise-term-on-pre-vote",
    about: "a `PreVote` raises the term of the node that is asked (P2)",
    breaks: &["recovery"],
    exposed_by: &["partition"],
    rules: &RaiseTermOnPreVote,
};

struct RaiseTermOnPreVote;

impl Rules for RaiseTermOnPreVote {
    fn pre_vote_keeps_term(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
