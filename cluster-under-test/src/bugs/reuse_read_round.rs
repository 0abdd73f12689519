//! Answers that are older than the question (R3).
//!
//! A leader is paused with the answers of its followers in the socket. When it wakes up it takes a read, then
//! the answers, and believes that it still leads.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "reuse-read-round",
    about: "a read joins a round of confirmation that began before it arrived (R3)",
    breaks: &["linearizable"],
    exposed_by: &["pause", "delay"],
    rules: &ReuseReadRound,
};

struct ReuseReadRound;

impl Rules for ReuseReadRound {
    fn reads_begin_new_round(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
