//! Lets clocks jump, as a clock that is set does.
//!
//! The time of day jumps either way. The time since boot never goes back on any kernel, so MONOTONIC jumps forward
//! whatever the sign: every timeout that would have come within the step is over at once, as after a machine's sleep.

use checkers::history::Receipt;

use super::hold::Hold;
use super::{Aim, Fault, FaultError, Needs, clock};
use crate::clock::{Change, Clock};
use crate::cluster::Cluster;
use crate::knobs::{Knob, Range};
use crate::target::{Rng, Target};

/// A jump of the targets' clocks.
pub(super) struct ClockStep;

const OFFSET: Knob = Knob {
    name: "offset_ms",
    about: "by how much the time of day jumps; monotonic time jumps forward by as much",
    range: Range::Number {
        min: -86_400_000,
        max: 86_400_000,
        usual: &[-60_000, -5_000, -500, 500, 5_000, 60_000],
    },
};

impl Fault for ClockStep {
    fn name(&self) -> &'static str {
        "clock-step"
    }

    fn about(&self) -> &'static str {
        "let the targets' clocks jump"
    }

    fn needs(&self) -> Needs {
        Needs::Clocks
    }

    fn targets(&self) -> &'static [Target] {
        clock::TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[clock::CLOCK, OFFSET]
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let offset_ns = aim.knobs.number(OFFSET.name) * 1_000_000;
        let changes = clock::chosen(aim.knobs).into_iter().map(|clock| match clock {
            Clock::Realtime => (clock, Change::Step { offset_ns }),
            Clock::Monotonic => (clock, Change::Step { offset_ns: offset_ns.abs() }),
        });
        clock::bend(cluster, aim, &changes.collect::<Vec<_>>(), hold)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        clock::restore(cluster, hold, others)
    }
}
