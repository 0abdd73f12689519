//! What a fault in force keeps hurt.
//!
//! Faults may overlap, so undoing one must not undo another: a link cut by two partitions opens when the second
//! is healed. Each injection therefore has a hold of its own, and healing undoes what it holds and nobody else does.

use std::collections::BTreeMap;

use checkers::history::NodeId;

pub use crate::net::Link;
use crate::net::{LinkCounters, Rule};
use crate::proc::Identity;

/// What one injection keeps hurt, with what heal needs to tell whether it stayed so.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    /// Nodes killed, and the process each one was.
    pub killed: BTreeMap<NodeId, Identity>,
    /// Nodes paused.
    pub paused: BTreeMap<NodeId, Paused>,
    /// Links cut, and what the switch had counted once the cut was in force.
    pub cut: BTreeMap<Link, LinkCounters>,
    /// Links with weather: what this injection added to each. Of several injections, what each of them added.
    pub weather: BTreeMap<Link, Vec<Rule>>,
}

/// A paused process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Which process.
    pub identity: Identity,
    /// Its time on the processor once it was seen to stand still.
    pub cpu_ticks: u64,
}

impl Hold {
    /// Whether nothing is hurt.
    pub fn is_empty(&self) -> bool {
        self.killed.is_empty() && self.paused.is_empty() && self.cut.is_empty() && self.weather.is_empty()
    }

    /// Everything that any of these holds keeps hurt.
    pub fn union<'a>(holds: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for hold in holds {
            union.killed.extend(&hold.killed);
            union.paused.extend(&hold.paused);
            union.cut.extend(&hold.cut);
            for (&link, rules) in &hold.weather {
                union.weather.entry(link).or_default().extend(rules);
            }
        }
        union
    }
}
