//! Durable commit: an entry is committed only when a majority of the nodes has it on disk (Figure 2, rules for
//! leaders; thesis §10.2.1: a leader may count itself late, but nobody early).
//!
//! A commit that rests on memory is lost when the lights go out, long after it was told to a client. The trace
//! shows it at once: at the moment of the commit fewer than a majority had said `durable`.
//!
//! Why comparing stamps of different nodes is sound here: all traces are stamped by one clock, `CLOCK_MONOTONIC` of
//! the one machine that runs all nodes, which the kernel keeps from going back between processors. A node stamps
//! `durable` before the acknowledgement leaves it, and the leader stamps `commit` after that acknowledgement has
//! arrived. So in an honest run the stamps of a majority are not later than that of the commit, however messages
//! and lines of different files are reordered. Equal stamps count as in time.
//!
//! An entry that was durable once counts for ever, also if it was cut off later: the acknowledgement may still be
//! under way. What the traces do not tell (a silent node, the inside of a log that a restart has found) counts as
//! durable. Both only make the rule milder.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::log_view::LogView;
use super::{Anomalies, silent_nodes, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::history::NodeId;
use crate::trace::{LogIndex, Place, Role, Term, Trace, TraceEvent};

/// No commit before a majority has the entry on disk.
pub struct DurableCommit;

impl Checker for DurableCommit {
    fn name(&self) -> &'static str {
        "durable-commit"
    }

    fn about(&self) -> &'static str {
        "an entry is committed only when a majority has it on disk (Raft, Figure 2 and thesis 10.2.1)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let disks: Vec<Disk<'_>> = evidence.traces.iter().map(Disk::of).collect();
        if disks.iter().all(|disk| disk.told == 0) {
            return Finding::new(
                self,
                Verdict::Unknown,
                "no node told what it has on disk, so nothing was shown",
            );
        }
        let commits = first_commits(evidence);
        if commits.is_empty() {
            return Finding::new(self, Verdict::Unknown, "nothing was ever committed, so nothing was shown");
        }
        let everybody = everybody(evidence);
        let all_silent = silent_nodes(evidence);
        let mut anomalies = Anomalies::new();
        for (&(index, term), &(place, voters)) in &commits {
            // Who was no voter does not count, whatever it has.
            let voters = voters.unwrap_or(&everybody);
            let (nodes, quorum) = (voters.len(), voters.len() / 2 + 1);
            let silent = voters.iter().filter(|voter| all_silent.contains(&voter.to_string())).count();
            let disks = disks.iter().filter(|disk| voters.contains(&disk.node));
            let stored: Vec<Place<'_>> = disks.clone().filter_map(|disk| disk.stored(index, term)).collect();
            let in_time = stored.iter().filter(|stored| stored.at_ns() <= place.at_ns()).count();
            if in_time + silent >= quorum {
                continue;
            }
            let places: Vec<Place<'_>> = [place].into_iter().chain(stored).collect();
            anomalies.add("committed before a majority had it on disk", &places, || {
                let mut text = vec![format!(
                    "{} committed entry {index} of term {term} with {in_time} of {nodes} copies on disk, it needs {quorum}",
                    when(evidence, place),
                )];
                text.extend(disks.map(|disk| disk.tell(evidence, index, term)));
                text
            });
        }
        let valid = format!("{} each on the disks of a majority first", count(commits.len(), "commit"));
        anomalies.finding(self, evidence, valid).with_checked("commits", commits.len())
    }
}

/// A commit and the voters that the node went by that tells of it, if it has said so.
type Commit<'a> = (Place<'a>, Option<&'a [NodeId]>);

/// The earliest event that tells of the commit of an entry. Later ones follow from it, so it is the leader's, and the
/// leader counts by the latest configuration in its log (thesis §4.1).
fn first_commits(evidence: &Evidence) -> BTreeMap<(LogIndex, Term), Commit<'_>> {
    let mut commits: BTreeMap<(LogIndex, Term), Commit<'_>> = BTreeMap::new();
    // A leader may pass over an index that a follower then tells of first, by members of its own. That follows from
    // the leader's commit behind it, which is judged.
    let mut by_leaders: Vec<(u64, LogIndex)> = Vec::new();
    for trace in &evidence.traces {
        let mut voters = None;
        let mut leads = false;
        for (place, event) in trace.events() {
            match event {
                TraceEvent::Members { voters: latest, .. } => voters = Some(latest.as_slice()),
                TraceEvent::Boot { .. } => leads = false,
                TraceEvent::Role { role, .. } => leads = *role == Role::Leader,
                TraceEvent::Commit { index, entry_term, .. } => {
                    if leads {
                        by_leaders.push((place.at_ns(), *index));
                    }
                    let first = commits.entry((*index, *entry_term)).or_insert((place, voters));
                    if place.at_ns() < first.0.at_ns() {
                        *first = (place, voters);
                    }
                }
                _ => {}
            }
        }
    }
    by_leaders.sort_unstable();
    // How far any leader has committed by then.
    let mut reached = 0;
    for (_, index) in &mut by_leaders {
        reached = reached.max(*index);
        *index = reached;
    }
    commits.retain(|&(index, _), (place, _)| {
        let by_then = by_leaders.partition_point(|(at, _)| *at <= place.at_ns());
        let reached = by_then.checked_sub(1).map_or(0, |last| by_leaders[last].1);
        reached <= index
    });
    commits
}

/// The nodes of the run, where the traces do not tell who votes.
fn everybody(evidence: &Evidence) -> Vec<NodeId> {
    let traced = evidence.traces.iter().map(Trace::node);
    evidence.expectations.nodes.iter().copied().chain(traced).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Since when one node has had which entries on disk.
struct Disk<'a> {
    node: NodeId,
    /// The number of its `durable` events.
    told: usize,
    entries: HashMap<(LogIndex, Term), Place<'a>>,
    /// Ranges of indexes whose terms the trace does not tell.
    unknown: Vec<(LogIndex, LogIndex, Place<'a>)>,
    /// Snapshots, each newer than the one before. They stand for all entries up to their index.
    snapshots: Vec<(LogIndex, Place<'a>)>,
}

impl<'a> Disk<'a> {
    fn of(trace: &'a Trace) -> Self {
        let mut disk = Disk {
            node: trace.node(),
            told: 0,
            entries: HashMap::new(),
            unknown: Vec::new(),
            snapshots: Vec::new(),
        };
        let mut log = LogView::default();
        // The end of what has been looked at already.
        let mut confirmed = 0;
        for (place, event) in trace.events() {
            log.follow(event);
            match *event {
                TraceEvent::Boot { snapshot_index, last_index, .. } => {
                    disk.snapshot(snapshot_index, place);
                    disk.store(&log, 0, last_index, place);
                    confirmed = last_index;
                }
                TraceEvent::Truncate { from_index } => {
                    confirmed = confirmed.min(from_index.saturating_sub(1));
                }
                TraceEvent::Append { first_index, .. } => confirmed = confirmed.min(first_index - 1),
                TraceEvent::Durable { index, entry_term } => {
                    disk.told += 1;
                    disk.store(&log, confirmed, index, place);
                    disk.entries.entry((index, entry_term)).or_insert(place);
                    confirmed = confirmed.max(index);
                }
                TraceEvent::Snapshot { index, .. } => disk.snapshot(index, place),
                TraceEvent::Term { .. }
                | TraceEvent::Role { .. }
                | TraceEvent::Vote { .. }
                | TraceEvent::Commit { .. }
                | TraceEvent::Apply { .. }
                | TraceEvent::Restore { .. }
                | TraceEvent::Members { .. }
                | TraceEvent::Aside(_) => {}
            }
        }
        disk
    }

    /// The entries after one index and up to another are on disk.
    fn store(&mut self, log: &LogView, after: LogIndex, upto: LogIndex, place: Place<'a>) {
        let mut next = after + 1;
        for (index, term) in log.terms(after, upto + 1) {
            self.unknown(next, index - 1, place);
            self.entries.entry((index, term)).or_insert(place);
            next = index + 1;
        }
        self.unknown(next, upto, place);
    }

    fn unknown(&mut self, from: LogIndex, upto: LogIndex, place: Place<'a>) {
        if from <= upto {
            self.unknown.push((from, upto, place));
        }
    }

    fn snapshot(&mut self, index: LogIndex, place: Place<'a>) {
        if self.snapshots.last().map_or(0, |(newest, _)| *newest) < index {
            self.snapshots.push((index, place));
        }
    }

    /// The earliest event that shows, or leaves open, that the entry is on disk.
    fn stored(&self, index: LogIndex, term: Term) -> Option<Place<'a>> {
        let entry = self.entries.get(&(index, term)).copied();
        let covers = self.snapshots.partition_point(|(upto, _)| *upto < index);
        let snapshot = self.snapshots.get(covers).map(|(_, place)| *place);
        let unknown = self.unknown.iter().find(|(from, upto, _)| (*from..=*upto).contains(&index));
        let unknown = unknown.map(|(_, _, place)| *place);
        [entry, snapshot, unknown].into_iter().flatten().min_by_key(Place::at_ns)
    }

    fn tell(&self, evidence: &Evidence, index: LogIndex, term: Term) -> String {
        match self.stored(index, term) {
            Some(place) => format!("{}: it is on disk", when(evidence, place)),
            None => format!("{} never has it on disk", self.node),
        }
    }
}
