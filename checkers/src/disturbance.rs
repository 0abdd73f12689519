//! Disturbances: from when until when a fault was in force, told by the fault events of a history.
//!
//! An injection is stamped when its evidence has been taken, so the fault itself began a little earlier; likewise a
//! heal. Whoever excuses something by a disturbance excuses too little at its beginning and too much at its end, by
//! the time that the evidence takes.

use crate::history::{Event, FaultPhase, History, NodeId, Outcome, Phase, Time};

/// The fault that empties disks.
const WIPE: &str = "wipe";

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disturbance {
    /// Its name; `death` for a node that ended by itself.
    pub(crate) fault: String,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) began: Time,
    /// `None` if nothing tells that it ended.
    pub(crate) ended: Option<Time>,
    /// Whether evidence showed it.
    pub(crate) shown: bool,
}

impl Disturbance {
    /// Whether it was in force at some moment of the interval.
    pub(crate) fn touches(&self, from: Time, until: Time) -> bool {
        self.began <= until && self.ended.is_none_or(|ended| ended >= from)
    }
}

/// All faults that were or may have been in force, in the order of their beginnings.
pub(crate) fn disturbances(history: &History) -> Vec<Disturbance> {
    let mut all: Vec<Disturbance> = Vec::new();
    for event in history.events() {
        match event {
            Event::Fault { time, fault, phase: FaultPhase::Inject, nodes, receipt } => {
                if receipt.outcome != Outcome::Skipped {
                    let shown = receipt.outcome == Outcome::Installed;
                    let (fault, nodes) = (fault.clone(), nodes.clone());
                    all.push(Disturbance { fault, nodes, began: *time, ended: None, shown });
                }
            }
            Event::Fault { time, fault, phase: FaultPhase::Heal, nodes, .. } => {
                end(&mut all, *time, fault, nodes);
            }
            Event::Death { time, node, .. } => {
                let (fault, nodes) = ("death".to_owned(), vec![*node]);
                all.push(Disturbance { fault, nodes, began: *time, ended: None, shown: true });
            }
            // Whatever is left is healed before the recovery begins.
            Event::Phase { time, phase: Phase::Recovery } => {
                open(&mut all).for_each(|disturbance| disturbance.ended = Some(*time));
            }
            Event::Phase { .. } | Event::Invoke { .. } | Event::Complete { .. } => {}
        }
    }
    all
}

/// When the disk of each node was emptied on purpose, in the order of time. Whatever a node had on its disk before, it
/// need not find in the life after.
pub(crate) fn wipes(history: &History) -> Vec<(NodeId, Time)> {
    let all = disturbances(history);
    let emptied = all.iter().filter(|known| known.fault == WIPE);
    emptied.flat_map(|known| known.nodes.iter().map(|&node| (node, known.began))).collect()
}

/// A heal names the injection that it undoes by fault and nodes. One that fits none exactly ends all of the fault's.
fn end(all: &mut [Disturbance], time: Time, fault: &str, nodes: &[NodeId]) {
    let exact = open(all).rfind(|open| open.fault == fault && open.nodes == nodes);
    if let Some(disturbance) = exact {
        disturbance.ended = Some(time);
        return;
    }
    for disturbance in open(all).filter(|open| open.fault == fault) {
        disturbance.ended = Some(time);
    }
}

fn open(all: &mut [Disturbance]) -> impl DoubleEndedIterator<Item = &mut Disturbance> {
    all.iter_mut().filter(|disturbance| disturbance.ended.is_none())
}
