//! Lets clocks run faster or slower.
//!
//! A follower whose monotonic clock is fast loses patience with a leader that is well, and campaigns. A leader whose clock
//! is slow believes in its lease when the others have stopped doing so: what it then answers is a stale read.

use checkers::history::Receipt;

use super::hold::Hold;
use super::{Aim, Fault, FaultError, Needs, clock};
use crate::clock::Change;
use crate::cluster::Cluster;
use crate::knobs::{Knob, Range};
use crate::target::{Rng, Target};

/// Another speed of the targets' clocks.
pub(super) struct ClockRate;

const RATE: Knob = Knob {
    name: "rate_percent",
    about: "how fast the clocks run; 100 is their true speed",
    range: Range::Number { min: 10, max: 1_500, usual: &[10, 50, 200, 1_500] },
};

impl Fault for ClockRate {
    fn name(&self) -> &'static str {
        "clock-rate"
    }

    fn about(&self) -> &'static str {
        "let the targets' clocks run faster or slower"
    }

    fn needs(&self) -> Needs {
        Needs::Clocks
    }

    fn targets(&self) -> &'static [Target] {
        clock::TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[clock::CLOCK, RATE]
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let change = Change::Rate { percent: aim.knobs.number(RATE.name) };
        let changes = clock::chosen(aim.knobs).into_iter().map(|clock| (clock, change));
        clock::bend(cluster, aim, &changes.collect::<Vec<_>>(), hold)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        clock::restore(cluster, hold, others)
    }
}
