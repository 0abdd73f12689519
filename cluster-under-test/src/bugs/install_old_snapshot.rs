//! A snapshot that turns back time (S3).
//!
//! InstallSnapshot is delayed or repeated, and the follower has moved on since.

use super::Bug;
use crate::rules::Rules;

/// The bug.
pub(super) const BUG: Bug = Bug {
    name: "install-old-snapshot",
    about: "a follower replaces newer state and log by an older snapshot (S3)",
    breaks: &["monotone", "state-machine-safety", "linearizable"],
    exposed_by: &["delay", "duplicate"],
    rules: &InstallOldSnapshot,
};

struct InstallOldSnapshot;

impl Rules for InstallOldSnapshot {
    fn keeps_newer_state(&self) -> bool {
        false
    }

    fn enforces_invariants(&self) -> bool {
        false
    }
}
