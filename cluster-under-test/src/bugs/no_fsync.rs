//! A log that is never synced.
//!
//! The page cache keeps what was written when the node is killed, so nothing short of a power loss shows it: then a
//! majority has forgotten what it acknowledged.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "no-fsync",
    about: "the log is written and never synced, so a power loss takes acknowledged entries",
    breaks: &["monotone", "durable-votes", "durable-commit", "linearizable"],
    exposed_by: &["power-loss"],
    rules: &NoFsync,
};

struct NoFsync;

impl Rules for NoFsync {
    fn syncs_writes(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
