//! What a fault in force keeps hurt.
//!
//! Faults may overlap, so undoing one must not undo another: a link cut by two partitions opens when the second
//! is healed. Each injection therefore has a hold of its own, and healing undoes what it holds and nobody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkers::history::NodeId;

use crate::clock::probe::Seen;
use crate::clock::{Change, Clock};
use crate::disk::{Pattern, RuleId};
pub use crate::net::Link;
use crate::net::{LinkCounters, Rule};
use crate::proc::Identity;
use crate::throttle::Throttle;

/// What one injection keeps hurt, with what heal needs to tell whether it stayed so.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    /// Nodes killed, and the process each one was.
    pub killed: BTreeMap<NodeId, Identity>,
    /// Nodes paused.
    pub paused: BTreeMap<NodeId, Paused>,
    /// Nodes that are restarted again and again.
    pub storms: BTreeMap<NodeId, Storm>,
    /// Nodes that get little of the processor.
    pub slowed: BTreeMap<NodeId, Slowed>,
    /// Nodes in which a failpoint may be armed.
    pub armed: BTreeSet<NodeId>,
    /// Nodes that are no members for now.
    pub removed: BTreeSet<NodeId>,
    /// Links cut, and what the switch had counted once the cut was in force.
    pub cut: BTreeMap<Link, LinkCounters>,
    /// Rules in force on the nodes' disks, and the paths that they are about.
    pub disk_rules: BTreeMap<(NodeId, RuleId), Pattern>,
    /// Bits that are turned on the nodes' disks.
    pub flips: BTreeSet<Flip>,
    /// Links with weather: what this injection added to each. Of several injections, what each of them added.
    pub weather: BTreeMap<Link, Vec<Rule>>,
    /// Clocks bent, and how each was seen to run then.
    pub bent: BTreeMap<(NodeId, Clock), BentClock>,
}

/// A bent clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BentClock {
    /// What was done to it.
    pub change: Change,
    /// What a probe read once it was done, if it came to that.
    pub seen: Option<Seen>,
}

/// A paused process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Which process.
    pub identity: Identity,
    /// Its time on the processor once it was seen to stand still.
    pub cpu_ticks: u64,
}

/// A bit that was turned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    /// On whose disk.
    pub node: NodeId,
    /// In which file, from the root of the disk.
    pub path: String,
    /// In which byte.
    pub offset: u64,
    /// Which bit of it.
    pub bit: u8,
    /// The byte since then.
    pub turned: u8,
}

/// A node in a restart storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Every process that it was so far, the present one last.
    pub lives: Vec<Identity>,
    /// Restarts of which `/proc` or the wait status did not show that they happened.
    pub missed: u64,
}

/// A slowed process.
#[derive(Clone, Debug)]
pub struct Slowed {
    /// Which process.
    pub identity: Identity,
    /// For how much of the time it shall run.
    pub percent: u32,
    /// What slows it.
    pub throttle: Arc<Throttle>,
}

impl Hold {
    /// Whether nothing is hurt.
    pub fn is_empty(&self) -> bool {
        self.killed.is_empty()
            && self.paused.is_empty()
            && self.storms.is_empty()
            && self.slowed.is_empty()
            && self.armed.is_empty()
            && self.removed.is_empty()
            && self.cut.is_empty()
            && self.weather.is_empty()
            && self.bent.is_empty()
            && self.disk_rules.is_empty()
            && self.flips.is_empty()
    }

    /// Everything that any of these holds keeps hurt.
    pub fn union<'a>(holds: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for hold in holds {
            union.killed.extend(&hold.killed);
            union.paused.extend(&hold.paused);
            union.storms.extend(hold.storms.clone());
            union.slowed.extend(hold.slowed.clone());
            union.armed.extend(&hold.armed);
            union.removed.extend(&hold.removed);
            union.cut.extend(&hold.cut);
            union.disk_rules.extend(hold.disk_rules.clone());
            union.flips.extend(hold.flips.iter().cloned());
            for (&link, rules) in &hold.weather {
                union.weather.entry(link).or_default().extend(rules);
            }
            union.bent.extend(&hold.bent);
        }
        union
    }
}
