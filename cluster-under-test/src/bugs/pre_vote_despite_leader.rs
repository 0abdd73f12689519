//! A working leader voted out (P3).
//!
//! A node that sends and does not receive campaigns again and again, and each time it is encouraged.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "pre-vote-despite-leader",
    about: "a node grants a `PreVote` although it hears from a leader (P3)",
    breaks: &["recovery"],
    exposed_by: &["partition"],
    rules: &PreVoteDespiteLeader,
};

struct PreVoteDespiteLeader;

impl Rules for PreVoteDespiteLeader {
    fn refuses_pre_vote_despite_leader(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
