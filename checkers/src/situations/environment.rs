//! Situations of the surroundings: what faults together did to the cluster, whatever the nodes made of it.

use super::cluster::Cluster;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::history::{Event, FaultPhase, Outcome};

/// What a fault does to the nodes that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It ends them.
    Down,
    /// They stand still and come back as they were.
    Stopped,
    /// Links between nodes are cut.
    Cut,
    /// Their clocks are bent.
    Clock,
    /// Something that leaves nodes, links between them and clocks as they are, or for a moment only.
    Other,
}

/// What the fault of this name does; `None` if no situation knows it, and then none sees it.
pub fn harm_of(fault: &str) -> Option<Harm> {
    match fault {
        "kill" | "power-loss" | "torn-write" | "disk-crash" | "lost-write" | "crash-at" | "wipe" => {
            Some(Harm::Down)
        }
        "pause" => Some(Harm::Stopped),
        "constrained-election" => Some(Harm::Cut),
        // Traces tell of every restart of a storm; clients that are cut off leave the nodes among themselves.
        "restart-storm"
        | "partition-clients"
        | "slow"
        | "slow-fsync"
        | "fsync-error"
        | "bit-flip"
        | "delay"
        | "loss"
        | "duplicate"
        | "reorder"
        | "corrupt"
        | "corrupt-data"
        | "bandwidth"
        | "flap"
        | "add-member"
        | "remove-member"
        | "replace-member"
        | "transfer-leadership" => Some(Harm::Other),
        _ if fault == "partition" || fault.starts_with("partition-") => Some(Harm::Cut),
        _ if fault.starts_with("clock-") => Some(Harm::Clock),
        _ if fault.starts_with("disk-") || fault.starts_with("link-") => Some(Harm::Other),
        _ => None,
    }
}

/// No majority of nodes runs and is connected, as far as kills, pauses and partitions in two tell. What Raft promises
/// then is safety alone.
pub(super) const QUORUM_LOST: Situation = Situation {
    name: "quorum-lost",
    about: "faults left no majority of nodes running and connected",
    source: "Raft paper, section 5.1 and 5.5",
    steps: &["a fault kept a node from the others", "no majority was left"],
    watch: || Box::<QuorumLost>::default(),
};

#[derive(Default)]
struct QuorumLost {
    lost: bool,
}

impl Watch for QuorumLost {
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if !matches!(now.recorded(), Some(Event::Fault { .. } | Event::Death { .. } | Event::Phase { .. })) {
            return;
        }
        let faults = [Harm::Down, Harm::Stopped, Harm::Cut];
        let in_force = || faults.iter().flat_map(|&harm| cluster.faults(harm));
        if in_force().next().is_none() {
            self.lost = false;
            return;
        }
        seen.step(0);
        let lost = !cluster.is_majority(cluster.largest_group().into_iter());
        if lost && !self.lost {
            seen.reached(now.time, || {
                let faults: Vec<&str> = in_force().map(|fault| fault.fault.as_str()).collect();
                let text =
                    format!("{} left {} together", faults.join(" and "), cluster.largest_group().len());
                (text, in_force().map(|fault| fault.at.clone()).collect())
            });
        }
        self.lost = lost;
    }
}

/// Nothing is left in memory: whatever comes back comes from the disks.
pub(super) const ALL_NODES_DOWN: Situation = Situation {
    name: "all-nodes-down",
    about: "all nodes were down at once, and came back from their disks alone",
    source: "Raft paper, section 5.5",
    steps: &["a node ended", "all nodes were down", "one of them came back"],
    watch: || Box::<AllNodesDown>::default(),
};

#[derive(Default)]
struct AllNodesDown {
    down: bool,
}

impl Watch for AllNodesDown {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        cluster.ended_by(now).iter().for_each(|_| seen.step(0));
    }

    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let booted = cluster.nodes().all(|(_, node)| node.booted);
        let down = booted && cluster.nodes().all(|(_, node)| !node.alive);
        match (self.down, down) {
            (false, true) => seen.step(1),
            (true, false) => {
                seen.reached(now.time, || {
                    ("a node boots after all were down".to_owned(), vec![now.locate()])
                });
            }
            (false, false) | (true, true) => {}
        }
        self.down = down;
    }
}

/// Failures in the field come in company.
pub(super) const OVERLAPPING_FAULTS: Situation = Situation {
    name: "overlapping-faults",
    about: "faults of two kinds were in force at once",
    source: "OmniPaxos, EuroSys 2023, section 2: partial connectivity and crashes together",
    steps: &["a fault was in force", "another one struck meanwhile"],
    watch: || Box::new(OverlappingFaults),
};

struct OverlappingFaults;

impl Watch for OverlappingFaults {
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some(Event::Fault { phase: FaultPhase::Inject, fault, receipt, .. }) = now.recorded() else {
            return;
        };
        if receipt.outcome != Outcome::Installed {
            return;
        }
        seen.step(0);
        let kinds = [Harm::Down, Harm::Stopped, Harm::Cut, Harm::Clock, Harm::Other];
        let other = kinds.iter().flat_map(|&harm| cluster.faults(harm)).find(|other| other.fault != *fault);
        if let Some(other) = other {
            seen.reached(now.time, || {
                (format!("{fault} while {} was in force", other.fault), vec![other.at.clone(), now.locate()])
            });
        }
    }
}

/// A fault finds most when it strikes while the nodes' states differ.
pub(super) const COMMIT_INDEXES_DIFFER: Situation = Situation {
    name: "commit-indexes-differ",
    about: "a fault struck while two live nodes knew different commit indexes",
    source: "CoFI, ASE 2020: faults while states are inconsistent",
    steps: &["a fault struck while two nodes were alive", "their commit indexes differed"],
    watch: || Box::new(CommitIndexesDiffer),
};

struct CommitIndexesDiffer;

impl Watch for CommitIndexesDiffer {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some(Event::Fault { phase: FaultPhase::Inject, fault, receipt, .. }) = now.recorded() else {
            return;
        };
        let alive = || cluster.nodes().filter(|(_, node)| node.alive);
        let (low, high) =
            (alive().min_by_key(|(_, node)| node.commit), alive().max_by_key(|(_, node)| node.commit));
        let (Some(low), Some(high)) = (low, high) else { return };
        if receipt.outcome != Outcome::Installed || alive().count() < 2 {
            return;
        }
        seen.step(0);
        if low.1.commit < high.1.commit {
            seen.reached(now.time, || {
                let (low, at_low, high, at_high) = (low.0, low.1.commit, high.0, high.1.commit);
                (format!("{fault} with {low} at {at_low} and {high} at {at_high}"), vec![now.locate()])
            });
        }
    }
}
