//! The schedule: which faults hit whom, when and how long. Part of the plan, drawn from the seed before the run.
//!
//! In `plan.json`, times in milliseconds from the moment clients and nemesis begin:
//!
//! ```json
//! {"steps": [{"at_ms": 1830, "duration_ms": 4210, "fault": "pause", "target": "leader",
//!             "trigger": {"when": "leader-known", "within_ms": 3000}}]}
//! ```
//!
//! One fault at a time, with quiet between them, so that a finding can be told from its neighbours:
//!
//! ```text
//! |-quiet-|---kill---|-quiet-|--partition--|-quiet-|---pause---|-quiet-|- … -|      time limit
//! ```
//!
//! Every fault asked for comes once, in random order, before any comes again. Drawing is pure: no clock, no I/O.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::actor::NemesisError;
use crate::faults::selection::Choice;
use crate::faults::{self, Fault, Unknown};
use crate::knobs::Knobs;
use crate::target::{Rng, Target};
use crate::trigger::{Trigger, Until};

/// What the nemesis will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// In the order of their beginning.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// The steps with their faults, for a cluster of `size` nodes; a plan may have been edited by hand.
    ///
    /// # Errors
    ///
    /// The first step that names a fault that does not exist or asks for what cannot be.
    pub(crate) fn checked(&self, size: usize) -> Result<Vec<(&Step, &'static dyn Fault)>, NemesisError> {
        let steps = self.steps.iter().enumerate().map(|(index, step)| {
            let fault = faults::find(&step.fault)?;
            let check = || {
                step.knobs.check(fault.knobs())?;
                if let Target::Step(number) = step.target
                    && number > index
                {
                    return Err(format!("target `{}` is not a step before it", step.target));
                }
                if let Some(trigger) = &step.trigger {
                    trigger.when.check(index, self.steps.len(), size)?;
                }
                step.until.iter().try_for_each(|until| until.when.check(index + 1, self.steps.len(), size))
            };
            let refused = |reason| NemesisError::Step { fault: fault.name(), at_ms: step.at_ms, reason };
            check().map_err(refused)?;
            Ok((step, fault))
        });
        steps.collect()
    }
}

/// One fault, from its injection to its heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub duration_ms: u64,
    /// The fault's name.
    pub fault: String,
    /// Whom it hits, resolved when it begins.
    pub target: Target,
    /// How it is set. What is left out is drawn when it begins.
    #[serde(default, skip_serializing_if = "Knobs::is_empty")]
    pub knobs: Knobs,
    /// What it waits for once its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// What keeps it in force when its duration is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

impl Step {
    /// When it ends, if it begins in time.
    pub fn end_ms(&self) -> u64 {
        self.at_ms + self.duration_ms
    }
}

/// How long something lasts, at least and at most.
#[derive(Clone, Copy, Debug)]
struct Span {
    min_ms: u64,
    max_ms: u64,
}

/// How long faults and the quiet before each of them last.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    quiet: Span,
    fault: Span,
}

impl Rhythm {
    /// In election timeouts. A timeout is drawn up to twice the least one, so a fault outlasts two and lets a new leader
    /// work for a while before the old one returns. The quiet lets the cluster elect once more if it must.
    fn usual(election_ms: u64) -> Self {
        let tenths =
            |min: u64, max: u64| Span { min_ms: election_ms * min / 10, max_ms: election_ms * max / 10 };
        Self { quiet: tenths(10, 16), fault: tenths(26, 36) }
    }

    /// For short runs: the least of both.
    fn short(election_ms: u64) -> Self {
        let exactly = |ms: u64| Span { min_ms: ms, max_ms: ms };
        Self { quiet: exactly(election_ms), fault: exactly(election_ms * 5 / 2) }
    }

    fn round_min_ms(self) -> u64 {
        self.quiet.min_ms + self.fault.min_ms
    }
}

/// The streams of random numbers, apart so that a target more or less does not shift the times.
const TIMES_STREAM: u64 = 1;
const TARGETS_STREAM: u64 = 2;
const KNOBS_STREAM: u64 = 3;

/// Draws a schedule for a cluster of `nodes` nodes whose least election timeout is `election_ms`. The last fault ends at
/// the limit or before.
///
/// First each fault comes once with the target that it does most harm to, which is the leader where there is a choice;
/// after that faults are drawn at random, and half of them hit that target again.
///
/// # Errors
///
/// A fault that does not exist or that the cluster is too small for, or a time limit too short for every fault
/// to come once.
pub fn draw(
    selection: &[Choice],
    time_limit_ms: u64,
    nodes: u16,
    election_ms: u64,
    seed: u64,
) -> Result<Schedule, DrawError> {
    let candidates =
        selection.iter().map(|choice| Candidate::new(choice, nodes)).collect::<Result<Vec<_>, _>>()?;
    if candidates.is_empty() {
        return Ok(Schedule::default());
    }
    let each_once = candidates.len() as u64;
    let (usual, short) = (Rhythm::usual(election_ms), Rhythm::short(election_ms));
    let rhythm = [usual, short]
        .into_iter()
        .find(|rhythm| each_once * rhythm.round_min_ms() <= time_limit_ms)
        .ok_or(DrawError::TooShort {
            faults: candidates.len(),
            limit_ms: time_limit_ms,
            needs_ms: each_once * short.round_min_ms(),
        })?;

    let mut times = Rng::new(seed, TIMES_STREAM);
    let mut targets = Rng::new(seed, TARGETS_STREAM);
    let mut settings = Rng::new(seed, KNOBS_STREAM);
    let mut first_round = candidates.iter().collect::<Vec<_>>();
    first_round.shuffle(&mut times);
    let mut first_round = first_round.into_iter();

    let mut steps = Vec::new();
    let mut now_ms = 0;
    loop {
        let still_due_ms = first_round.len() as u64 * rhythm.round_min_ms();
        // What may be spent beyond the least times without taking any from the faults that must still come.
        let Some(mut spare_ms) =
            (time_limit_ms - now_ms).checked_sub(still_due_ms.max(rhythm.round_min_ms()))
        else {
            return Ok(Schedule { steps });
        };
        let quiet_ms = draw_span(rhythm.quiet, &mut spare_ms, &mut times);
        let duration_ms = draw_span(rhythm.fault, &mut spare_ms, &mut times);
        let (candidate, target) = match first_round.next() {
            Some(candidate) => (candidate, candidate.targets[0].clone()),
            None => {
                let candidate = &candidates[times.random_range(0..candidates.len())];
                // Drawn even if it is not used, so that the next one does not depend on this choice.
                let any = targets.random_range(0..candidate.targets.len());
                let chosen = if targets.random_bool(0.5) { 0 } else { any };
                (candidate, candidate.targets[chosen].clone())
            }
        };
        let trigger = target.needs_leader().then_some(Trigger::LEADER_KNOWN);
        let fault = candidate.fault.name().to_owned();
        let knobs = candidate.knobs.complete(candidate.fault.knobs(), &mut settings);
        steps.push(Step {
            at_ms: now_ms + quiet_ms,
            duration_ms,
            fault,
            target,
            knobs,
            trigger,
            until: None,
        });
        now_ms += quiet_ms + duration_ms;
    }
}

fn draw_span(span: Span, spare_ms: &mut u64, rng: &mut Rng) -> u64 {
    let more_ms = rng.random_range(0..=(span.max_ms - span.min_ms).min(*spare_ms));
    *spare_ms -= more_ms;
    span.min_ms + more_ms
}

/// A fault asked for, with the targets it may have: the one asked for, or all that the cluster is large enough for.
struct Candidate {
    fault: &'static dyn Fault,
    targets: Vec<Target>,
    knobs: Knobs,
}

impl Candidate {
    fn new(Choice { fault, target, knobs }: &Choice, nodes: u16) -> Result<Self, DrawError> {
        let fault = faults::find(fault)?;
        let size = usize::from(nodes);
        let impossible = |reason| DrawError::Impossible { fault: fault.name(), reason };
        if nodes < fault.nodes_min() {
            let reason =
                format!("needs a cluster of at least {} nodes; this one has {nodes}", fault.nodes_min());
            return Err(impossible(reason));
        }
        let targets = match target {
            Some(target) => {
                target.check(size).map_err(impossible)?;
                vec![target.clone()]
            }
            None => fault.targets().iter().filter(|target| target.check(size).is_ok()).cloned().collect(),
        };
        Ok(Self { fault, targets, knobs: knobs.clone() })
    }
}

/// Why no schedule can be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// There is no such fault.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The cluster cannot be hurt that way.
    #[error("{fault}: {reason}")]
    Impossible {
        /// The fault.
        fault: &'static str,
        /// Why not.
        reason: String,
    },
    /// Not every fault would come once.
    #[error(
        "{faults} faults need a time limit of at least {} s, this one is {} s; raise it or name fewer faults",
        .needs_ms.div_ceil(1000),
        *.limit_ms as f64 / 1000.0
    )]
    TooShort {
        /// How many faults were asked for.
        faults: usize,
        /// The limit given.
        limit_ms: u64,
        /// The least limit for them.
        needs_ms: u64,
    },
}
