//! The faults: ways to hurt a cluster and to undo it, each with evidence that it bit.
//!
//! A fault never believes its own deed. What it reports comes from elsewhere: the kernel's view in `/proc`, the
//! switch's counters, datagrams that arrive or do not. Without that evidence the outcome is indeterminate, and a
//! run does not pass on a fault that may have missed.
//!
//! A new fault is one file here and one line in [`FAULTS`].

use std::io;
use std::time::Duration;

use checkers::history::{NodeId, Receipt};

use crate::clock::{Clock, Level};
use crate::cluster::{Cluster, ClusterError};
use crate::knobs::{Knob, Knobs};
use crate::schedule::{Schedule, Step};
use crate::target::{Rng, Target};

mod bandwidth;
mod clock;
mod clock_freeze;
mod clock_rate;
mod clock_step;
mod clock_strobe;
mod constrained_election;
mod corrupt;
mod corrupt_data;
mod crash_at;
mod delay;
mod disk;
mod duplicate;
mod flap;
pub mod heal;
pub mod hold;
mod kill;
mod links;
mod loss;
mod measure;
mod members;
mod partition;
mod partition_bridge;
mod partition_chain;
mod partition_clients;
mod partition_deaf;
mod partition_halves;
mod partition_hub;
mod partition_island;
mod partition_one_way;
mod partition_ring;
mod partition_star;
mod pause;
mod process;
mod proof;
mod remove_member;
mod reorder;
mod restart_storm;
pub mod selection;
mod shape;
mod slow;
mod transfer_leadership;
mod weather;
mod wipe;

use hold::Hold;

/// Every fault the nemesis knows, in the order shown by `harness list`.
pub const FAULTS: &[&dyn Fault] = &[
    &kill::Kill,
    &pause::Pause,
    &restart_storm::RestartStorm,
    &slow::Slow,
    &crash_at::CrashAt,
    &wipe::Wipe,
    &partition::PARTITION,
    &partition_one_way::PARTITION_ONE_WAY,
    &partition_deaf::PARTITION_DEAF,
    &partition_ring::PARTITION_RING,
    &partition_bridge::PARTITION_BRIDGE,
    &partition_chain::PARTITION_CHAIN,
    &partition_hub::PARTITION_HUB,
    &partition_star::PARTITION_STAR,
    &partition_halves::PARTITION_HALVES,
    &partition_island::PARTITION_ISLAND,
    &partition_clients::PARTITION_CLIENTS,
    &constrained_election::ConstrainedElection,
    &delay::DELAY,
    &loss::LOSS,
    &duplicate::DUPLICATE,
    &reorder::REORDER,
    &corrupt::CORRUPT,
    &corrupt_data::CORRUPT_DATA,
    &bandwidth::BANDWIDTH,
    &flap::FLAP,
    &clock_step::ClockStep,
    &clock_rate::ClockRate,
    &clock_freeze::ClockFreeze,
    &clock_strobe::ClockStrobe,
    &remove_member::RemoveMember,
    &transfer_leadership::TransferLeadership,
    &disk::POWER_LOSS,
    &disk::TORN_WRITE,
    &disk::DISK_CRASH,
    &disk::DISK_EIO,
    &disk::FSYNC_ERROR,
    &disk::DISK_FULL,
    &disk::SLOW_FSYNC,
    &disk::LOST_WRITE,
    &disk::BIT_FLIP,
];

/// A way to hurt a cluster, and to undo it.
pub trait Fault: Sync {
    /// How it is called on the command line, in plans and in histories.
    fn name(&self) -> &'static str;

    /// What it does, in a line of `harness list`.
    fn about(&self) -> &'static str;

    /// What of the cluster it acts on. Without it the fault is refused before the run.
    fn needs(&self) -> Needs;

    /// Targets that make sense, the most telling first.
    fn targets(&self) -> &'static [Target];

    /// The smallest cluster that it can hurt.
    fn nodes_min(&self) -> u16 {
        1
    }

    /// The group of faults that it belongs to, if any: a name that stands for all of them on the command line.
    fn group(&self) -> Option<&'static str> {
        None
    }

    /// What it can be set to.
    fn knobs(&self) -> &'static [Knob] {
        &[]
    }

    /// How many of `size` nodes a quorum must do without while it is in force on so many targets.
    fn hurts(&self, size: usize, targets: usize) -> usize {
        targets.min(size)
    }

    /// Why a correct system may fail under it, if it may. It is injected only when it was asked for by name.
    fn beyond_promise(&self) -> Option<&'static str> {
        None
    }

    /// How often it acts again while it is in force, if it does.
    fn period(&self, _knobs: &Knobs) -> Option<Duration> {
        None
    }

    /// Acts again. What it has seen goes into `hold`, and into the receipt of the heal.
    ///
    /// # Errors
    ///
    /// The cluster refused.
    fn pulse(&self, _cluster: &mut dyn Cluster, _hold: &mut Hold) -> Result<(), FaultError> {
        Ok(())
    }

    /// Hurts the targets and looks whether it bit.
    ///
    /// What is hurt is written to `hold` before it is done, so that an injection that fails halfway can be healed.
    ///
    /// # Errors
    ///
    /// The cluster refused. What had been done by then is in `hold`.
    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError>;

    /// Undoes what `hold` says, except what `others`, the holds of all other faults in force, keep hurt as well.
    ///
    /// What is healed is taken out of `hold`; healing an empty hold does nothing.
    ///
    /// # Errors
    ///
    /// The cluster refused. What could not be healed is still in `hold`; the rest is healed.
    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError>;
}

/// Whom an injection hits, and how.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// The nodes, resolved.
    pub targets: &'a [NodeId],
    /// A setting for every knob of the fault.
    pub knobs: &'a Knobs,
}

/// What of a cluster a fault acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The nodes' processes, which every cluster has.
    Processes,
    /// The links between the nodes, which need a sandbox with a switch.
    Links,
    /// The nodes' clocks, which need processes that can be traced.
    Clocks,
    /// Points in the nodes' code at which they can be told to die, which the system must have.
    Failpoints,
    /// Members and leadership, which the system must let be changed.
    Membership,
    /// Disks under the nodes' data that can be hurt, which need FUSE.
    Disks,
}

impl Needs {
    /// Whether the cluster has it.
    pub fn are_met_by(self, cluster: &mut dyn Cluster) -> bool {
        match self {
            Self::Processes => true,
            Self::Links => cluster.links().is_some(),
            Self::Clocks => cluster.clocks().is_some(),
            Self::Failpoints => cluster.failpoints().is_some(),
            Self::Membership => cluster.membership().is_some(),
            Self::Disks => cluster.disks().is_some(),
        }
    }
}

impl std::fmt::Display for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Processes => "processes",
            Self::Links => "links",
            Self::Clocks => "clocks",
            Self::Failpoints => "failpoints",
            Self::Membership => "membership",
            Self::Disks => "disks",
        })
    }
}

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The cluster has no links to act on.
    #[error("this cluster has no switch between its nodes; run `harness doctor`, or drop faults on links")]
    NoSwitch,
    /// The cluster's nodes were started without what bends their clocks.
    #[error("the clocks of this cluster cannot be bent; run `harness doctor`, or drop faults on clocks")]
    NoClocks,
    /// A probe of a node's clocks failed.
    #[error("failed to probe the clocks of {node}: {source}")]
    ClockProbe {
        /// Whose clocks.
        node: NodeId,
        /// Why.
        source: io::Error,
    },
    /// The cluster has no disks to act on.
    #[error("the nodes' data lies on no faulty disk; run `harness doctor`, or drop faults on disks")]
    NoDisks,
    /// The disk could not be looked at.
    #[error("failed to look at the disk of {node}: {source}")]
    Disk {
        /// Which node's.
        node: NodeId,
        /// Why not.
        source: io::Error,
    },
    /// The system has no points at which its nodes can be told to die.
    #[error("this system has no failpoints; drop faults on failpoints")]
    NoFailpoints,
    /// The system does not let its members be changed.
    #[error("this system's members cannot be changed; drop faults on membership")]
    NoMembership,
    /// The cluster could not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The kernel's view of a process could not be read.
    #[error("failed to look at {node}: {source}")]
    Proc {
        /// Which node was looked at.
        node: NodeId,
        /// The error, which names the file.
        source: io::Error,
    },
}

impl FaultError {
    /// Whether the harness is to blame. A node that came or went by itself just before is the cluster's doing.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::NoSwitch
            | Self::NoClocks
            | Self::ClockProbe { .. }
            | Self::NoDisks
            | Self::Disk { .. }
            | Self::NoFailpoints
            | Self::NoMembership
            | Self::Proc { .. }
            | Self::Cluster(ClusterError::Os { .. } | ClusterError::Link { .. }) => true,
            Self::Cluster(ClusterError::Down(_) | ClusterError::Up(_) | ClusterError::Refused { .. }) => {
                false
            }
        }
    }
}

/// The fault called `name`.
///
/// # Errors
///
/// There is none; the nearest name is offered.
pub fn find(name: &str) -> Result<&'static dyn Fault, Unknown> {
    FAULTS.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| Unknown {
        name: name.to_owned(),
        nearest: nearest(name, FAULTS.iter().map(|fault| fault.name()).chain(selection::GROUPS)),
    })
}

/// How far a schedule bends the nodes' clocks; `None` if not at all.
pub fn clocks_needed_by(schedule: &Schedule) -> Option<Level> {
    let bends = |step: &&Step| find(&step.fault).is_ok_and(|fault| fault.needs() == Needs::Clocks);
    let level = |step: &Step| {
        let clock = |word: &str| step.knobs.has_word(clock::CLOCK.name, word);
        // What the plan leaves out is drawn when the step begins, and may be MONOTONIC.
        let is_harmless = step.fault == clock_strobe::ClockStrobe.name() || clock("realtime");
        Level::needed_by(if is_harmless { Clock::Realtime } else { Clock::Monotonic })
    };
    schedule.steps.iter().filter(bends).map(level).max()
}

/// A name that no fault has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault `{name}`{}; `harness list` shows all", .nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
pub struct Unknown {
    /// As it was written.
    pub name: String,
    /// The known name most like it, if one is near.
    pub nearest: Option<&'static str>,
}

fn nearest(wanted: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Jaro-Winkler favours a common beginning, which is how people mistype; below 0.7 the guess is noise.
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_described() {
        for fault in FAULTS {
            assert_eq!(find(fault.name()).expect("it is in the list").name(), fault.name());
            assert!(!fault.about().is_empty() && !fault.about().ends_with('.'), "{}", fault.name());
            assert!(!fault.targets().is_empty(), "{} has a target to begin with", fault.name());
        }
        let names = FAULTS.iter().map(|fault| fault.name()).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), FAULTS.len(), "names are unique");
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let unknown = find("partiton").err().expect("mistyped");
        assert_eq!(
            unknown.to_string(),
            "there is no fault `partiton`; did you mean `partition`?; `harness list` shows all"
        );
        assert_eq!(find("xyzzy").err().expect("noise").nearest, None);
    }
}
