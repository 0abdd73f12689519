//! The nemesis: carries out a schedule on a cluster, records every injection and heal, and leaves nothing hurt.
//!
//! It lives on a thread of its own. [`run`] returns when the schedule is done or the run is stopped; in either case
//! every fault in force is healed first, and then [`heal::everything_and_members`] repairs whatever else is amiss.
//!
//! What a schedule promises is how long faults and the quiet between them last. So a step that begins late, because
//! its trigger made it wait or because the evidence of the one before took time, moves all later steps by as much; and a
//! step kept in force beyond its time moves those that were to begin after it.

use std::collections::BTreeSet;
use std::time::Duration;

use checkers::history::{Evidence, FaultPhase, NodeId, Outcome, Receipt};

use crate::cluster::Cluster;
use crate::faults::hold::Hold;
use crate::faults::{Aim, Fault, FaultError, Unknown, heal};
use crate::pace::RealTime;
use crate::schedule::{Schedule, Step};
use crate::signals::Signals;
use crate::target::Rng;
use crate::trigger::{Condition, Otherwise, Progress, View};

pub use crate::pace::{Pace, Stop, Wake};

/// How often a condition is looked at while a step waits for it.
const TRIGGER_POLL: Duration = Duration::from_millis(20);

/// Something the nemesis did. It is handed over as soon as its evidence is taken; the recorder stamps it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// The fault's name, or [`heal::FINAL_HEAL`].
    pub fault: String,
    /// Injected or healed.
    pub phase: FaultPhase,
    /// Whom it hit.
    pub nodes: Vec<NodeId>,
    /// What it did.
    pub receipt: Receipt,
}

/// Why the nemesis could not do its work. Not a finding about the cluster.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The schedule names a fault that does not exist.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The schedule asks for something that cannot be.
    #[error("the step of {fault} at {at_ms} ms: {reason}")]
    Step {
        /// The fault.
        fault: &'static str,
        /// The step's time.
        at_ms: u64,
        /// What is wrong.
        reason: String,
    },
    /// A fault could not be injected, or could not go on.
    #[error("failed to inject {fault}: {source}")]
    Inject {
        /// Which.
        fault: &'static str,
        /// Why.
        source: FaultError,
    },
    /// A fault could not be healed.
    #[error("failed to heal {fault}: {source}")]
    Heal {
        /// Which.
        fault: &'static str,
        /// Why.
        source: FaultError,
    },
}

/// Carries out the schedule, then heals everything. Symbolic targets are drawn from `targets_seed`.
///
/// A fault that the cluster evades (it has no leader, the node died just before) is recorded as skipped or
/// indeterminate, and the schedule goes on.
///
/// # Errors
///
/// Trouble of the harness: a fault that does not exist, or the operating system refused. The schedule ends there;
/// everything is healed all the same.
pub fn run(
    schedule: &Schedule,
    cluster: &mut dyn Cluster,
    targets_seed: u64,
    stop: &Stop,
    record: &mut dyn FnMut(FaultRecord),
) -> Result<(), NemesisError> {
    run_at(&RealTime::new(stop), schedule, cluster, targets_seed, record)
}

/// [`run`], in a time of the caller's.
///
/// # Errors
///
/// As for [`run`].
pub fn run_at(
    pace: &dyn Pace,
    schedule: &Schedule,
    cluster: &mut dyn Cluster,
    targets_seed: u64,
    record: &mut dyn FnMut(FaultRecord),
) -> Result<(), NemesisError> {
    // Looked through before anything is hurt: a plan may have been edited by hand.
    let steps = schedule.checked(cluster.nodes().len())?;
    let start = cluster.signals();
    let mut nemesis = Nemesis {
        cluster,
        pace,
        record,
        targets_seed,
        origin: pace.now(),
        progress: vec![Progress::Pending; steps.len()],
        steps,
        next: 0,
        look_again: None,
        active: Vec::new(),
        removed: BTreeSet::new(),
        late: Duration::ZERO,
        before: start.clone(),
        start,
    };
    let done = nemesis.carry_out();
    nemesis.skip_the_rest();
    let healed = nemesis.heal_all();
    done.and(healed)
}

struct Nemesis<'a> {
    cluster: &'a mut dyn Cluster,
    pace: &'a dyn Pace,
    record: &'a mut dyn FnMut(FaultRecord),
    targets_seed: u64,
    steps: Vec<(&'a Step, &'static dyn Fault)>,
    /// What has become of each step.
    progress: Vec<Progress>,
    /// The first step that has not begun.
    next: usize,
    /// While it waits for its trigger: when to look again.
    look_again: Option<Duration>,
    active: Vec<Active<'a>>,
    /// Nodes that a fault took out of the cluster at some time.
    removed: BTreeSet<NodeId>,
    /// When the schedule began.
    origin: Duration,
    /// How much later than planned the steps begin by now.
    late: Duration,
    /// The cluster when the schedule began.
    start: Signals,
    /// The cluster when the step before the next one began.
    before: Signals,
}

/// A fault in force.
struct Active<'a> {
    /// The place of its step in the schedule.
    index: usize,
    step: &'a Step,
    fault: &'static dyn Fault,
    nodes: Vec<NodeId>,
    hold: Hold,
    /// When its duration is over.
    due: Duration,
    /// While it lasts beyond that: when to look again whether it may end.
    look_again: Option<Duration>,
    /// When it acts again, for faults that do.
    pulse: Option<Pulse>,
    /// The cluster when it began.
    began: Signals,
}

#[derive(Clone, Copy)]
struct Pulse {
    period: Duration,
    next: Duration,
}

impl Active<'_> {
    fn wakes_at(&self) -> Duration {
        let heals = self.look_again.unwrap_or(self.due);
        self.pulse.map_or(heals, |pulse| pulse.next.min(heals))
    }
}

impl Nemesis<'_> {
    /// Injects and heals on time until nothing is left to do, or the run is stopped.
    fn carry_out(&mut self) -> Result<(), NemesisError> {
        loop {
            let begins = self.begins_at();
            let wakes = self.active.iter().map(Active::wakes_at).chain(begins).min();
            let Some(wakes) = wakes else { return Ok(()) };
            if self.pace.wait_until(wakes) == Wake::Stopped {
                return Ok(());
            }
            self.heal_due()?;
            self.pulse_due()?;
            // Asked again: a heal may have moved it.
            if self.begins_at().is_some_and(|begins| begins <= self.pace.now()) {
                self.begin()?;
            }
        }
    }

    /// When to look at the next step, unless it waits for one that lasts beyond its time.
    fn begins_at(&self) -> Option<Duration> {
        let (step, _) = self.steps.get(self.next)?;
        let outlasts =
            |active: &Active<'_>| active.step.until.is_some() && step.at_ms >= active.step.end_ms();
        if self.active.iter().any(outlasts) {
            return None;
        }
        Some(self.look_again.unwrap_or(self.planned(step.at_ms)))
    }

    fn planned(&self, at_ms: u64) -> Duration {
        self.origin + Duration::from_millis(at_ms) + self.late
    }

    /// What was planned for `at_ms` happens now; what comes after it moves along.
    fn happens_now(&mut self, at_ms: u64) {
        let late = self.pace.now().saturating_sub(self.origin + Duration::from_millis(at_ms));
        self.late = self.late.max(late);
    }

    /// Begins the next step, skips it, or lets it wait for its trigger.
    fn begin(&mut self) -> Result<(), NemesisError> {
        let (step, fault) = self.steps[self.next];
        let (now, planned) = (self.pace.now(), self.planned(step.at_ms));
        let signals = self.cluster.signals();
        let mut waited = None;
        if let Some(trigger) = &step.trigger {
            let view = View { now: &signals, start: &self.start, step: &self.before, steps: &self.progress };
            let holds = trigger.when.holds(&view);
            if !holds && now < planned + Duration::from_millis(trigger.within_ms) {
                self.look_again = Some(now + TRIGGER_POLL);
                return Ok(());
            }
            waited = Some(waited_for(&trigger.when, holds, now.saturating_sub(planned), trigger.within_ms));
            if !holds && trigger.otherwise == Otherwise::Skip {
                self.progress[self.next] = Progress::Skipped;
                self.skip(fault, step, waited.take().expect("it was just set"));
            }
        }
        if self.progress[self.next] == Progress::Pending {
            self.inject(&signals, waited)?;
        }
        self.before = signals;
        self.look_again = None;
        self.happens_now(step.at_ms);
        self.next += 1;
        Ok(())
    }

    fn inject(&mut self, signals: &Signals, waited: Option<String>) -> Result<(), NemesisError> {
        let (index, began) = (self.next, self.pace.now());
        let (step, fault) = self.steps[index];
        // A stream for each step, so that leaving one out of a plan does not change whom the others hit.
        let mut rng = Rng::new(self.targets_seed, step.at_ms);
        let nodes = match step.target.resolve(self.cluster, &self.progress, &mut rng) {
            Ok(nodes) => nodes,
            Err(reason) => {
                self.progress[index] = Progress::Skipped;
                self.skip(fault, step, reason);
                return Ok(());
            }
        };
        let mut hold = Hold::default();
        let knobs = step.knobs.complete(fault.knobs(), &mut rng);
        let aim = Aim { targets: &nodes, knobs: &knobs };
        let mut injected = fault.inject(self.cluster, &aim, &mut rng, &mut hold);
        if let Ok(receipt) = &mut injected {
            let knobs = (!knobs.is_empty()).then(|| note("knobs", knobs.to_string()));
            let waited = waited.map(|waited| note("trigger", waited));
            receipt.evidence.splice(0..0, waited.into_iter().chain(knobs));
        }
        let was_tried = injected.as_ref().is_ok_and(|receipt| receipt.outcome != Outcome::Skipped);
        let error = self.record(fault.name(), FaultPhase::Inject, &nodes, injected, Some(step));
        let now = self.pace.now();
        // What failed halfway is healed at once.
        let due = if error.is_some() { began } else { began + Duration::from_millis(step.duration_ms) };
        self.removed.extend(&hold.removed);
        self.progress[index] = Progress::Skipped;
        if was_tried || !hold.is_empty() {
            self.progress[index] = Progress::InForce(nodes.clone());
            let pulse = fault.period(&knobs).map(|period| Pulse { period, next: now + period });
            let began = signals.clone();
            self.active.push(Active { index, step, fault, nodes, hold, due, look_again: None, pulse, began });
        }
        match error.filter(FaultError::is_trouble) {
            Some(source) => Err(NemesisError::Inject { fault: fault.name(), source }),
            None => Ok(()),
        }
    }

    /// Heals the faults whose time is over, and looks whether those that last beyond it may end.
    fn heal_due(&mut self) -> Result<(), NemesisError> {
        let now = self.pace.now();
        let mut at = 0;
        while at < self.active.len() {
            if self.active[at].look_again.unwrap_or(self.active[at].due) > now {
                at += 1;
                continue;
            }
            let Some(until) = &self.active[at].step.until else {
                self.heal(at, None)?;
                continue;
            };
            let (signals, active) = (self.cluster.signals(), &self.active[at]);
            let view = View { now: &signals, start: &self.start, step: &active.began, steps: &self.progress };
            let holds = until.when.holds(&view);
            if holds || now >= active.due + Duration::from_millis(until.within_ms) {
                let waited = waited_for(&until.when, holds, now.saturating_sub(active.due), until.within_ms);
                let end_ms = active.step.end_ms();
                self.heal(at, Some(waited))?;
                self.happens_now(end_ms);
            } else {
                self.active[at].look_again = Some(now + TRIGGER_POLL);
                at += 1;
            }
        }
        Ok(())
    }

    /// Lets the faults act again that do so while they are in force.
    fn pulse_due(&mut self) -> Result<(), NemesisError> {
        for active in &mut self.active {
            let Some(pulse) = active.pulse.as_mut().filter(|pulse| pulse.next <= self.pace.now()) else {
                continue;
            };
            let acted = active.fault.pulse(self.cluster, &mut active.hold);
            // Counted from when it was done: a slow machine makes it less often, not all at once.
            pulse.next = self.pace.now() + pulse.period;
            match acted {
                Err(source) if source.is_trouble() => {
                    return Err(NemesisError::Inject { fault: active.fault.name(), source });
                }
                Ok(()) | Err(_) => (),
            }
        }
        Ok(())
    }

    fn heal(&mut self, at: usize, waited: Option<String>) -> Result<(), NemesisError> {
        let mut active = self.active.remove(at);
        let others = Hold::union(self.active.iter().map(|other| &other.hold));
        let mut healed = active.fault.heal(self.cluster, &mut active.hold, &others);
        if let (Ok(receipt), Some(waited)) = (&mut healed, waited) {
            receipt.evidence.insert(0, note("until", waited));
        }
        let error = self.record(active.fault.name(), FaultPhase::Heal, &active.nodes, healed, None);
        self.progress[active.index] = Progress::Healed(active.nodes, Box::new(self.cluster.signals()));
        match error.filter(FaultError::is_trouble) {
            Some(source) => Err(NemesisError::Heal { fault: active.fault.name(), source }),
            None => Ok(()),
        }
    }

    /// Heals the faults in force, the latest first, and then looks at everything once more.
    fn heal_all(&mut self) -> Result<(), NemesisError> {
        while let Some(last) = self.active.len().checked_sub(1) {
            // A heal that fails is recorded, and the final heal below tries again what it left.
            let _recorded = self.heal(last, None);
        }
        let nodes = self.cluster.nodes();
        let healed = heal::everything_and_members(self.cluster, &self.removed);
        match self.record(heal::FINAL_HEAL, FaultPhase::Heal, &nodes, healed, None) {
            Some(source) => Err(NemesisError::Heal { fault: heal::FINAL_HEAL, source }),
            None => Ok(()),
        }
    }

    fn skip_the_rest(&mut self) {
        for index in self.next..self.steps.len() {
            let (step, fault) = self.steps[index];
            self.skip(fault, step, "the run ended before its time".to_owned());
        }
    }

    fn skip(&mut self, fault: &'static dyn Fault, step: &Step, reason: String) {
        let receipt = Receipt { outcome: Outcome::Skipped, evidence: vec![note("nemesis", reason)] };
        // Nothing failed, so there is no error to hand on.
        let _none = self.record(fault.name(), FaultPhase::Inject, &[], Ok(receipt), Some(step));
    }

    /// Records what came of a fault. An error is recorded as indeterminate, as it may have happened in part, and
    /// handed back.
    fn record(
        &mut self,
        fault: &str,
        phase: FaultPhase,
        nodes: &[NodeId],
        result: Result<Receipt, FaultError>,
        step: Option<&Step>,
    ) -> Option<FaultError> {
        let (mut receipt, error) = match result {
            Ok(receipt) => (receipt, None),
            Err(error) => {
                let evidence = vec![note("error", error.to_string())];
                (Receipt { outcome: Outcome::Indeterminate, evidence }, Some(error))
            }
        };
        if let Some(step) = step {
            let seen = if nodes.is_empty() { "nobody".to_owned() } else { join(nodes) };
            receipt.evidence.insert(0, note(&format!("target {}", step.target), seen));
        }
        (self.record)(FaultRecord { fault: fault.to_owned(), phase, nodes: nodes.to_vec(), receipt });
        error
    }
}

fn join(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
}

fn note(source: &str, seen: String) -> Evidence {
    Evidence { source: source.to_owned(), node: None, seen }
}

/// What is said of a wait for a condition.
fn waited_for(condition: &Condition, holds: bool, waited: Duration, within_ms: u64) -> String {
    if holds {
        return format!("{condition}, after {} ms", waited.as_millis());
    }
    format!("not seen within {within_ms} ms: {condition}")
}
