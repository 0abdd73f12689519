//! Lets the time of day jump there and back, again and again.
//!
//! This is what a clock does on which two that disagree have a hand. It finds programs that subtract two readings of the
//! time of day and trust the result. MONOTONIC never goes back, so it cannot strobe.

use std::time::Duration;

use checkers::history::Receipt;

use super::hold::Hold;
use super::{Aim, Fault, FaultError, Needs, clock};
use crate::clock::{Change, Clock};
use crate::cluster::Cluster;
use crate::knobs::{Knob, Range};
use crate::target::{Rng, Target};

/// A time of day of the targets that jumps there and back.
pub(super) struct ClockStrobe;

const OFFSET: Knob = Knob {
    name: "offset_ms",
    about: "by how much the time of day jumps there, and back",
    range: Range::Number { min: -86_400_000, max: 86_400_000, usual: &[-5_000, -200, 200, 5_000] },
};
const PERIOD: Knob = Knob {
    name: "period_ms",
    about: "how long it stays on either side",
    range: Range::Number { min: 1, max: 10_000, usual: &[10, 100, 500] },
};

impl Fault for ClockStrobe {
    fn name(&self) -> &'static str {
        "clock-strobe"
    }

    fn about(&self) -> &'static str {
        "let the targets' time of day jump there and back, again and again"
    }

    fn needs(&self) -> Needs {
        Needs::Clocks
    }

    fn targets(&self) -> &'static [Target] {
        clock::TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[OFFSET, PERIOD]
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let period_ms = aim.knobs.number(PERIOD.name).unsigned_abs();
        let change = Change::Strobe {
            offset_ns: aim.knobs.number(OFFSET.name) * 1_000_000,
            period: Duration::from_millis(period_ms),
        };
        clock::bend(cluster, aim, &[(Clock::Realtime, change)], hold)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        clock::restore(cluster, hold, others)
    }
}
