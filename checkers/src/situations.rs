//! Situations: named states that a run may pass through, told from its history and traces.
//!
//! A run without a finding says little if nothing difficult ever happened in it. A situation is a pure function of the
//! evidence: reached, when, in which events, how often, or not. It judges nothing: each may come up in a correct run.
//! A run that aimed at one and missed it shows nothing about it, which [`crate::Coverage`] makes of it.
//!
//! ```text
//!   history, traces ─▶ moments, in the order of time ─▶ each situation's watch ─▶ Observed
//!                                    └─▶ cluster: who lives, leads, holds what, at this moment
//! ```
//! All are watched in one walk over the moments, so the time is linear in the evidence. Stamps of different nodes may be
//! compared because one clock of one machine gives them all.
//!
//! A new situation is an item in the file of its family and one line in [`SITUATIONS`].

mod cluster;
mod elections;
mod environment;
mod leaders;
mod logs;
mod membership;
mod moment;
mod operations;
mod restarts;

use crate::evidence::Evidence;
use crate::finding::EventRef;
use crate::history::Time;

pub use environment::{Harm, harm_of};

use cluster::Cluster;
use moment::{Moment, moments};

/// Every situation that a run may reach, in the order shown by `harness list`.
pub const SITUATIONS: &[&Situation] = &[
    &leaders::TWO_LEADERS,
    &leaders::ISOLATED_LEADER_WITH_UNCOMMITTED_TAIL,
    &leaders::ISOLATED_LEADER_RETURNS,
    &leaders::PAUSED_LEADER_RETURNS,
    &leaders::LEADER_KILLED_WITH_UNACKNOWLEDGED_WRITES,
    &leaders::LEADER_STEPPED_DOWN,
    &elections::SPLIT_VOTE,
    &elections::LEADERLESS_TERM,
    &elections::TERM_JUMP,
    &elections::PRE_VOTE_REFUSED,
    &elections::CONSTRAINED_ELECTION,
    &elections::CANDIDATE_KILLED,
    &elections::RESTART_AFTER_VOTE,
    &elections::CAMPAIGN_UNDER_BENT_CLOCK,
    &logs::DIVERGENT_LOGS,
    &logs::TAIL_TRUNCATED,
    &logs::TAIL_SURVIVES,
    &logs::FIGURE_8_WINDOW,
    &logs::FIGURE_8_OVERWRITABLE,
    &restarts::CRASH_BETWEEN_APPEND_AND_ACK,
    &restarts::RESTART_WITH_TORN_TAIL,
    &restarts::DIED_AT_FAILPOINT,
    &restarts::SNAPSHOT_INSTALLED,
    &restarts::SNAPSHOT_DURING_PARTITION,
    &operations::READ_DURING_LEADER_CHANGE,
    &operations::ANSWERED_BY_OLD_LEADER,
    &operations::LEASE_UNDER_BENT_CLOCK,
    &operations::INFO_OPERATION_TOOK_EFFECT,
    &membership::LEADER_REMOVED_ITSELF,
    &membership::CHANGE_DURING_PARTITION,
    &membership::CONFIGURATION_ROLLED_BACK,
    &membership::TRANSFER_COMPLETED,
    &environment::QUORUM_LOST,
    &environment::ALL_NODES_DOWN,
    &environment::OVERLAPPING_FAULTS,
    &environment::COMMIT_INDEXES_DIFFER,
];

/// A named state that a run may pass through.
pub struct Situation {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Where it is described.
    pub source: &'static str,
    /// What it takes, one thing after the other; the last one completes it. A run that misses the situation is told how
    /// far it came.
    pub steps: &'static [&'static str],
    watch: fn() -> Box<dyn Watch>,
}

/// The search for one situation in one run.
trait Watch {
    /// Something happens; the cluster is as it was before.
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let _ = (now, cluster, seen);
    }

    /// Something has happened; the cluster is as it was right after.
    fn after(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let _ = (now, cluster, seen);
    }

    /// The run is over: what shows by its absence is told now.
    fn end(&mut self, cluster: &Cluster<'_>, seen: &mut Seen) {
        let _ = (cluster, seen);
    }
}

/// The most places that are kept of one situation; a busy run has thousands.
const SIGHTINGS_MAX: usize = 10;

/// One time that a situation was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When it was complete, on the clock of the history.
    pub time: Time,
    /// Who and what, in a line.
    pub text: String,
    /// The events that show it.
    pub events: Vec<EventRef>,
}

/// What a run shows of one situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its name.
    pub name: &'static str,
    /// How often it was reached.
    pub times: u64,
    /// The first of these times.
    pub sightings: Vec<Sighting>,
    /// What it takes, and how often each was seen; the last one completes it.
    pub steps: Vec<(&'static str, u64)>,
}

impl Observed {
    /// Whether the run passed through it.
    pub fn reached(&self) -> bool {
        self.times > 0
    }

    /// How far a run that did not reach it came; `None` if it did.
    pub fn missing(&self) -> Option<String> {
        if self.reached() {
            return None;
        }
        let seen: Vec<_> = self.steps.iter().take_while(|(_, times)| *times > 0).collect();
        let (never, _) =
            self.steps[seen.len()..].first().expect("the last step is not seen if it is not reached");
        let never = format!("never seen: {never}");
        let seen: Vec<String> = seen.iter().map(|(step, times)| format!("{step} ({times})")).collect();
        Some(if seen.is_empty() { never } else { format!("seen: {}; {never}", seen.join(", ")) })
    }
}

/// What a watch has told.
#[derive(Default)]
struct Seen {
    times: u64,
    sightings: Vec<Sighting>,
    steps: Vec<u64>,
}

impl Seen {
    /// A step on the way, by its position. The last one is told by [`Seen::reached`].
    fn step(&mut self, step: usize) {
        self.steps[step] += 1;
    }

    /// The whole of it. `tell` is only called if the sighting is kept.
    fn reached(&mut self, time: Time, tell: impl FnOnce() -> (String, Vec<EventRef>)) {
        self.times += 1;
        *self.steps.last_mut().expect("every situation has a last step") = self.times;
        if self.sightings.len() < SIGHTINGS_MAX {
            let (text, events) = tell();
            self.sightings.push(Sighting { time, text, events });
        }
    }
}

/// The situation called `name`.
pub fn find(name: &str) -> Option<&'static Situation> {
    SITUATIONS.iter().copied().find(|situation| situation.name == name)
}

/// What a run shows of every situation, in the order of [`SITUATIONS`].
pub fn observe(evidence: &Evidence) -> Vec<Observed> {
    let mut cluster = Cluster::of(evidence);
    let mut watches: Vec<(Box<dyn Watch>, Seen)> = SITUATIONS
        .iter()
        .map(|situation| {
            let steps = vec![0; situation.steps.len()];
            assert!(!steps.is_empty(), "{} says what it takes", situation.name);
            ((situation.watch)(), Seen { steps, ..Seen::default() })
        })
        .collect();
    for moment in moments(evidence) {
        watches.iter_mut().for_each(|(watch, seen)| watch.before(&moment, &cluster, seen));
        cluster.follow(&moment);
        watches.iter_mut().for_each(|(watch, seen)| watch.after(&moment, &cluster, seen));
    }
    let told = |(situation, (mut watch, mut seen)): (&&Situation, (Box<dyn Watch>, Seen))| {
        watch.end(&cluster, &mut seen);
        let steps = situation.steps.iter().copied().zip(seen.steps).collect();
        Observed { name: situation.name, times: seen.times, sightings: seen.sightings, steps }
    };
    SITUATIONS.iter().zip(watches).map(told).collect()
}
