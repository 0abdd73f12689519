//! Orders from a former leader (M10).
//!
//! It was cut off, knows nothing of its successor, and its late messages rewrite the logs.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "accept-old-append",
    about: "a follower accepts the entries of a former leader (M10)",
    breaks: &["log-matching", "state-machine-safety"],
    exposed_by: &["partition", "pause"],
    rules: &AcceptOldAppend,
};

struct AcceptOldAppend;

impl Rules for AcceptOldAppend {
    fn rejects_old_leader(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
