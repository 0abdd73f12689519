//! Situations around disks and snapshots: what a crash found unwritten, and logs that were replaced as a whole.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::environment::Harm;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::history::NodeId;
use crate::trace::{Aside, LogIndex, SnapshotOrigin, TraceEvent};

/// What was in memory alone is gone; nothing may have rested on it.
pub(super) const CRASH_BETWEEN_APPEND_AND_ACK: Situation = Situation {
    name: "crash-between-append-and-ack",
    about: "a node died with entries in its log that were not yet on its disk",
    source: "Raft paper, Figure 2: updated on stable storage before responding; thesis, section 10.2.1",
    steps: &["a node died", "it held an entry that was not on its disk yet"],
    watch: || Box::<CrashBeforeAck>::default(),
};

#[derive(Default)]
struct CrashBeforeAck {
    /// The last entry that each node told to be on its disk, if the entries after it have changed since.
    durable: BTreeMap<NodeId, LogIndex>,
}

impl Watch for CrashBeforeAck {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        for id in cluster.ended_by(now) {
            seen.step(0);
            let last = cluster.node(id).and_then(|node| node.log.last());
            let (Some(last), Some(&durable)) = (last, self.durable.get(&id)) else { continue };
            if durable < last {
                seen.reached(now.time, || {
                    (
                        format!("{id} died with entries {} to {last} in memory", durable + 1),
                        vec![now.locate()],
                    )
                });
            }
        }
        let Some((id, event)) = now.traced() else { return };
        let durable = self.durable.entry(id).or_default();
        match *event {
            TraceEvent::Boot { last_index, .. } => *durable = last_index,
            TraceEvent::Append { first_index, .. } => *durable = first_index.saturating_sub(1).min(*durable),
            TraceEvent::Truncate { from_index } => *durable = from_index.saturating_sub(1).min(*durable),
            // The log begins behind it.
            TraceEvent::Durable { index, .. }
            | TraceEvent::Restore { index, .. }
            | TraceEvent::Snapshot { index, .. } => *durable = index.max(*durable),
            _ => {}
        }
    }
}

/// The last record was written in part. It was never acknowledged, and the rest of the log is good.
pub(super) const RESTART_WITH_TORN_TAIL: Situation = Situation {
    name: "restart-with-torn-tail",
    about: "a node restarted and cut a torn record off the end of its log on disk",
    source: "Pillai and others, OSDI 2014: appends are not atomic over a crash",
    steps: &["a node restarted", "it found a torn tail"],
    watch: || Box::new(TornTail),
};

struct TornTail;

impl Watch for TornTail {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Boot { torn_bytes, .. })) = now.traced() else { return };
        if cluster.node(id).is_some_and(|node| node.booted) {
            seen.step(0);
            if torn_bytes > 0 {
                let text = format!("{id} cut off {torn_bytes} torn bytes");
                seen.reached(now.time, || (text, vec![now.locate()]));
            }
        }
    }
}

/// The crash that was wanted, at the line of code that was named.
pub(super) const DIED_AT_FAILPOINT: Situation = Situation {
    name: "died-at-failpoint",
    about: "a node died at a failpoint that had been armed",
    source: "Gunawi and others, NSDI 2011: failures at chosen points",
    steps: &["a node died at a failpoint"],
    watch: || Box::new(DiedAtFailpoint),
};

struct DiedAtFailpoint;

impl Watch for DiedAtFailpoint {
    fn before(&mut self, now: &Moment<'_>, _cluster: &Cluster<'_>, seen: &mut Seen) {
        if let Some((id, TraceEvent::Aside(Aside::Failpoint { name }))) = now.traced() {
            seen.reached(now.time, || (format!("{id} died at {name}"), vec![now.locate()]));
        }
    }
}

/// A laggard gets a state in place of the entries that are no longer there.
pub(super) const SNAPSHOT_INSTALLED: Situation = Situation {
    name: "snapshot-installed",
    about: "a node that was too far behind was caught up with a snapshot",
    source: "Raft paper, section 7",
    steps: &["a node took a snapshot of its own", "a node installed one of its leader's"],
    watch: || Box::new(Installed { under_cut: false }),
};

/// The transfer is long, and the network is not whole.
pub(super) const SNAPSHOT_DURING_PARTITION: Situation = Situation {
    name: "snapshot-during-partition",
    about: "a snapshot was installed while links between nodes were cut",
    source: "Raft paper, section 7 and 5.5",
    steps: &["links were cut", "a snapshot was installed", "both were so at once"],
    watch: || Box::new(Installed { under_cut: true }),
};

struct Installed {
    under_cut: bool,
}

impl Watch for Installed {
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if self.under_cut && Cluster::newly_in_force(now, Harm::Cut) {
            seen.step(0);
        }
        let Some((id, &TraceEvent::Snapshot { index, origin, .. })) = now.traced() else { return };
        match (origin, self.under_cut) {
            (SnapshotOrigin::Taken, false) => seen.step(0),
            (SnapshotOrigin::Taken, true) => {}
            (SnapshotOrigin::Installed, false) => {
                seen.reached(now.time, || (format!("{id} got a snapshot up to {index}"), vec![now.locate()]));
            }
            (SnapshotOrigin::Installed, true) => {
                seen.step(1);
                if let Some(cut) = cluster.faults(Harm::Cut).next() {
                    seen.reached(now.time, || {
                        let text = format!("{id} got a snapshot up to {index} under {}", cut.fault);
                        (text, vec![cut.at.clone(), now.locate()])
                    });
                }
            }
        }
    }
}
