//! What a fault in force keeps hurt.
//!
//! Faults may overlap, so undoing one must not undo another: a link cut by two partitions opens when the second
//! is healed. Each injection therefore has a hold of its own, and healing undoes what it holds and nobody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use checkers::history::NodeId;

use crate::disk::{Pattern, RuleId};
use crate::net::LinkCounters;
use crate::proc::Identity;

/// A directed link between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Whose packets.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
}

impl Link {
    /// The other direction.
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

/// What one injection keeps hurt, with what heal needs to tell whether it stayed so.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    /// Nodes killed, and the process each one was.
    pub killed: BTreeMap<NodeId, Identity>,
    /// Nodes paused.
    pub paused: BTreeMap<NodeId, Paused>,
    /// Links cut, and what the switch had counted once the cut was in force.
    pub cut: BTreeMap<Link, LinkCounters>,
    /// Rules in force on the nodes' disks, and the paths that they are about.
    pub disk_rules: BTreeMap<(NodeId, RuleId), Pattern>,
    /// Bits that are turned on the nodes' disks.
    pub flips: BTreeSet<Flip>,
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

impl Hold {
    /// Whether nothing is hurt.
    pub fn is_empty(&self) -> bool {
        self.killed.is_empty()
            && self.paused.is_empty()
            && self.cut.is_empty()
            && self.disk_rules.is_empty()
            && self.flips.is_empty()
    }

    /// Everything that any of these holds keeps hurt.
    pub fn union<'a>(holds: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for hold in holds {
            union.killed.extend(&hold.killed);
            union.paused.extend(&hold.paused);
            union.cut.extend(&hold.cut);
            union.disk_rules.extend(hold.disk_rules.clone());
            union.flips.extend(hold.flips.iter().cloned());
        }
        union
    }
}
