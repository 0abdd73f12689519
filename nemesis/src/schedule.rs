//! The schedule: which faults hit whom, when and how long. Part of the plan, drawn from the seed before the run.
//!
//! In `plan.json`, times in milliseconds from the moment clients and nemesis begin:
//!
//! ```json
//! {"steps": [{"at_ms": 1830, "duration_ms": 4210, "fault": "pause", "target": "leader",
//!             "trigger": {"when": "leader-known", "within_ms": 3000}}]}
//! ```
//!
//! The format of conditions is that of [`trigger`](crate::trigger). Steps are numbered from 1, and a step may aim at the
//! nodes that an earlier one hit (`step-3`). Drawing is in [`draw`](crate::draw); a scenario is written by hand.

use serde::{Deserialize, Serialize};

use crate::actor::NemesisError;
use crate::faults::{self, Fault, Needs};
use crate::knobs::Knobs;
use crate::target::Target;
use crate::trigger::{Trigger, Until};

/// What the nemesis will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// In the order of their beginning.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// Whether a step acts on this. Steps of faults that do not exist are refused elsewhere.
    pub fn needs(&self, needs: Needs) -> bool {
        self.steps.iter().any(|step| faults::find(&step.fault).is_ok_and(|fault| fault.needs() == needs))
    }

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
