//! The faulty disk: a file system of its own under a node's data directory, which forgets what was not synced.
//!
//! ```text
//! node ── write, fsync ──▶ kernel ── FUSE ──▶ serve ──▶ rules ──▶ tree: volatile and durable
//!                                                        ▲         ▲
//!                          faults ── arm, lose_power, flip ────────┘
//!                          faults ── look, probe ──▶ a child ──▶ kernel ── FUSE ──▶ serve
//! ```
//! SIGKILL loses nothing that was written, because the page cache is the kernel's. A power loss does, and a program that
//! forgets to sync shows only there. Other mechanisms were found wanting: device mapper targets need root and a kernel
//! that has them, and preloaded libraries miss programs that are linked statically.
//!
//! Everything is in memory, at most [`CAPACITY_BYTES`] of it. Whether a fault was in force, and whether it is gone, is
//! not believed on the word of this module: a child looks through the mount.

mod content;
mod delay;
mod journal;
mod mount;
mod power;
mod probe;
mod rules;
mod self_test;
mod serve;
mod state;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::target::Rng;

pub use journal::Counts;
pub use mount::{CAPACITY_BYTES, Disk, MountError};
pub use power::{FileLoss, Losses, Mode, Unsynced};
pub use probe::{Probe, Seen};
pub use rules::{Action, Operation, Pattern, Rule, RuleId};
pub use self_test::{DEVICE, Reason, self_test};

/// What faults do to a disk, and how they look at it. Paths are from the root of the mount, below which the node's data
/// lies in `data`; the paths of rules are from there.
pub trait FaultyDisk: Send + Sync {
    /// Puts a rule in force.
    fn arm(&self, rule: Rule) -> RuleId;
    /// Takes it back, lets go on what it delays, and tells how many operations of the node it has hurt.
    fn disarm(&self, id: RuleId) -> u64;
    /// Takes all rules back, and tells how many there were.
    fn disarm_all(&self) -> usize;
    /// How many operations of the node a rule has hurt so far.
    fn hits(&self, id: RuleId) -> u64;
    /// The journal's counts of all files together.
    fn counts(&self) -> Counts;
    /// What a power loss would take now.
    fn unsynced(&self, mode: Mode) -> Losses;
    /// Takes it. The node must be dead: it would write the rest again.
    fn lose_power(&self, mode: Mode, unsynced: Unsynced, rng: &mut Rng) -> Losses;
    /// Turns one bit of a file, wherever that byte is durable there too. Gives the byte that is there now, `None` where
    /// nothing was written.
    fn flip(&self, path: &str, offset: u64, bit: u8) -> Option<u8>;
    /// All files with their sizes.
    fn files(&self) -> BTreeMap<String, u64>;
    /// How files look through the mount; `None` for those that do not exist.
    ///
    /// # Errors
    ///
    /// They cannot be read, or not in time.
    fn look(&self, paths: &[String]) -> io::Result<Vec<Option<Seen>>>;
    /// One byte of a file through the mount.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not in time.
    fn byte(&self, path: &str, offset: u64) -> io::Result<u8>;
    /// Writes a file that a pattern means, beside the node's data, and sees what happens.
    ///
    /// # Errors
    ///
    /// Nothing is known, because the disk did not answer in time.
    fn probe(&self, pattern: &Pattern, delay: Duration) -> io::Result<Probe>;
    /// Waits until [`Action::Freeze`] has met its operation, and gives that and its path.
    fn wait_until_frozen(&self, limit: Duration) -> Option<(Operation, String)>;
    /// Lets a frozen disk go on. What was held is answered with EIO.
    fn thaw(&self);
    /// Answers with EIO what waits for an answer now. A process that waits cannot be killed before.
    fn abandon(&self);
}
