//! Copies of learners count like those of voters (C14).
//!
//! A learner has no vote, so what it has helped to commit need not be known to any voter who elects the next leader.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "learner-counts",
    about: "the copies of learners count towards a commit (C14)",
    breaks: &["durable-commit"],
    exposed_by: &["membership"],
    rules: &LearnerCounts,
};

struct LearnerCounts;

impl Rules for LearnerCounts {
    fn counts_learners(&self) -> bool {
        true
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
