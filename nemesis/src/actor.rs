//! The nemesis: carries out a schedule on a cluster, records every injection and heal, and leaves nothing hurt.
//!
//! It lives on a thread of its own. [`run`] returns when the schedule is done or the run is stopped; in either case
//! every fault in force is healed first, and then [`heal::everything`] repairs whatever else is amiss.
//!
//! What a schedule promises is how long faults and the quiet between them last. So a step that begins late, because
//! its trigger made it wait or because the evidence of the one before took time, moves all later steps by as much.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use checkers::history::{Evidence, FaultPhase, NodeId, Outcome, Receipt};

use crate::cluster::Cluster;
use crate::faults::hold::Hold;
use crate::faults::{self, Aim, Fault, FaultError, Unknown, heal};
use crate::schedule::{Schedule, Step};
use crate::target::Rng;

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

/// Time as the nemesis lives it; tests give it another.
pub trait Pace {
    /// How long the nemesis has been at work.
    fn now(&self) -> Duration;
    /// Waits until `due`, or less if the run is stopped.
    fn wait_until(&self, due: Duration) -> Wake;
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time has come.
    Due,
    /// The run is stopped.
    Stopped,
}

/// The wish that the nemesis stops.
#[derive(Debug, Default)]
pub struct Stop {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Wakes the nemesis up and lets it heal everything and return.
    pub fn request(&self) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Real time, in which a [`Stop`] ends every wait.
struct RealTime<'a> {
    began: Instant,
    stop: &'a Stop,
}

impl Pace for RealTime<'_> {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait_until(&self, due: Duration) -> Wake {
        let mut wanted = self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *wanted {
                return Wake::Stopped;
            }
            let left = due.saturating_sub(self.now());
            if left.is_zero() {
                return Wake::Due;
            }
            let waited = self.stop.changed.wait_timeout(wanted, left);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Why the nemesis could not do its work. Not a finding about the cluster.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The schedule names a fault that does not exist.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The schedule sets a fault to what it cannot be set to.
    #[error("the step of {fault} at {at_ms} ms: {reason}")]
    Knobs {
        /// The fault.
        fault: &'static str,
        /// The step's time.
        at_ms: u64,
        /// What is wrong.
        reason: String,
    },
    /// A fault could not be injected.
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
    run_at(&RealTime { began: Instant::now(), stop }, schedule, cluster, targets_seed, record)
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
    // Names are looked up before anything is hurt: a plan may have been edited by hand.
    let pending = schedule.steps.iter().map(|step| Ok((step, faults::find(&step.fault)?)));
    let pending = pending.collect::<Result<VecDeque<_>, Unknown>>()?;
    for (step, fault) in &pending {
        let refused = |reason| NemesisError::Knobs { fault: fault.name(), at_ms: step.at_ms, reason };
        step.knobs.check(fault.knobs()).map_err(refused)?;
    }
    let late = Duration::ZERO;
    let mut nemesis = Nemesis { cluster, pace, record, targets_seed, pending, active: Vec::new(), late };
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
    pending: VecDeque<(&'a Step, &'static dyn Fault)>,
    active: Vec<Active>,
    /// How much later than planned the steps begin by now.
    late: Duration,
}

/// A fault in force.
struct Active {
    fault: &'static dyn Fault,
    nodes: Vec<NodeId>,
    hold: Hold,
    until: Duration,
}

impl Nemesis<'_> {
    /// Injects and heals on time until nothing is left to do, or the run is stopped.
    fn carry_out(&mut self) -> Result<(), NemesisError> {
        let origin = self.pace.now();
        // While a step waits for its trigger: when to look again.
        let mut look_again = None;
        loop {
            let planned =
                self.pending.front().map(|(step, _)| origin + Duration::from_millis(step.at_ms) + self.late);
            let heal_due = self.active.iter().map(|active| active.until).min();
            let Some(due) = look_again.or(planned).into_iter().chain(heal_due).min() else {
                return Ok(());
            };
            if self.pace.wait_until(due) == Wake::Stopped {
                return Ok(());
            }
            self.heal_due()?;

            let (Some(planned), now) = (planned, self.pace.now()) else {
                continue;
            };
            if now < look_again.unwrap_or(planned) {
                continue;
            }
            let (step, fault) = self.pending[0];
            look_again = None;
            match step.trigger {
                Some(trigger) if !trigger.when.holds(self.cluster) => {
                    if now < planned + Duration::from_millis(trigger.within_ms) {
                        look_again = Some(now + TRIGGER_POLL);
                        continue;
                    }
                    let reason = format!("{} within {} ms", trigger.when.missed(), trigger.within_ms);
                    self.skip(fault, step, reason);
                }
                _ => {
                    self.inject(fault, step)?;
                }
            }
            self.late += now - planned;
            self.pending.pop_front();
        }
    }

    fn inject(&mut self, fault: &'static dyn Fault, step: &Step) -> Result<(), NemesisError> {
        let began = self.pace.now();
        // A stream for each step, so that leaving one out of a plan does not change whom the others hit.
        let mut rng = Rng::new(self.targets_seed, step.at_ms);
        let nodes = match step.target.resolve(self.cluster, &mut rng) {
            Ok(nodes) => nodes,
            Err(reason) => {
                self.skip(fault, step, reason);
                return Ok(());
            }
        };
        let mut hold = Hold::default();
        let knobs = step.knobs.complete(fault.knobs(), &mut rng);
        let aim = Aim { targets: &nodes, knobs: &knobs };
        let mut injected = fault.inject(self.cluster, &aim, &mut rng, &mut hold);
        if let (Ok(receipt), false) = (&mut injected, knobs.is_empty()) {
            let evidence = Evidence { source: "knobs".to_owned(), node: None, seen: knobs.to_string() };
            receipt.evidence.insert(0, evidence);
        }
        let error = self.record(fault.name(), FaultPhase::Inject, &nodes, injected, Some(step));
        let until = if error.is_some() { began } else { began + Duration::from_millis(step.duration_ms) };
        if !hold.is_empty() {
            self.active.push(Active { fault, nodes, hold, until });
        }
        match error.filter(FaultError::is_trouble) {
            Some(source) => Err(NemesisError::Inject { fault: fault.name(), source }),
            None => Ok(()),
        }
    }

    /// Heals the faults whose time is over.
    fn heal_due(&mut self) -> Result<(), NemesisError> {
        let now = self.pace.now();
        while let Some(at) = self.active.iter().position(|active| active.until <= now) {
            self.heal(at)?;
        }
        Ok(())
    }

    fn heal(&mut self, at: usize) -> Result<(), NemesisError> {
        let mut active = self.active.remove(at);
        let others = Hold::union(self.active.iter().map(|other| &other.hold));
        let healed = active.fault.heal(self.cluster, &mut active.hold, &others);
        let error = self.record(active.fault.name(), FaultPhase::Heal, &active.nodes, healed, None);
        match error.filter(FaultError::is_trouble) {
            Some(source) => Err(NemesisError::Heal { fault: active.fault.name(), source }),
            None => Ok(()),
        }
    }

    /// Heals the faults in force, the latest first, and then looks at everything once more.
    fn heal_all(&mut self) -> Result<(), NemesisError> {
        while let Some(last) = self.active.len().checked_sub(1) {
            // A heal that fails is recorded, and the final heal below tries again what it left.
            let _recorded = self.heal(last);
        }
        let nodes = self.cluster.nodes();
        let healed = heal::everything(self.cluster);
        match self.record(heal::FINAL_HEAL, FaultPhase::Heal, &nodes, healed, None) {
            Some(source) => Err(NemesisError::Heal { fault: heal::FINAL_HEAL, source }),
            None => Ok(()),
        }
    }

    fn skip_the_rest(&mut self) {
        while let Some((step, fault)) = self.pending.pop_front() {
            self.skip(fault, step, "the run ended before its time".to_owned());
        }
    }

    fn skip(&mut self, fault: &'static dyn Fault, step: &Step, reason: String) {
        let evidence = vec![Evidence { source: "nemesis".to_owned(), node: None, seen: reason }];
        let receipt = Receipt { outcome: Outcome::Skipped, evidence };
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
                let evidence = Evidence { source: "error".to_owned(), node: None, seen: error.to_string() };
                (Receipt { outcome: Outcome::Indeterminate, evidence: vec![evidence] }, Some(error))
            }
        };
        if let Some(step) = step {
            let seen = if nodes.is_empty() { "nobody".to_owned() } else { join(nodes) };
            let source = format!("target {}", step.target);
            receipt.evidence.insert(0, Evidence { source, node: None, seen });
        }
        (self.record)(FaultRecord { fault: fault.to_owned(), phase, nodes: nodes.to_vec(), receipt });
        error
    }
}

fn join(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
}
