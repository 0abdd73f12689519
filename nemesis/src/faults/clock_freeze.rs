//! Lets clocks stand still.
//!
//! A node whose monotonic clock stands still answers all messages and never gets impatient: a leader sends no heartbeat
//! by itself and never steps down, a follower never campaigns. Unlike a paused node, nobody can tell.

use checkers::history::Receipt;

use super::hold::Hold;
use super::{Aim, Fault, FaultError, Needs, clock};
use crate::clock::Change;
use crate::cluster::Cluster;
use crate::knobs::Knob;
use crate::target::{Rng, Target};

/// Clocks of the targets that stand still.
pub(super) struct ClockFreeze;

impl Fault for ClockFreeze {
    fn name(&self) -> &'static str {
        "clock-freeze"
    }

    fn about(&self) -> &'static str {
        "let the targets' clocks stand still"
    }

    fn needs(&self) -> Needs {
        Needs::Clocks
    }

    fn targets(&self) -> &'static [Target] {
        clock::TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        &[clock::CLOCK]
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let change = Change::Rate { percent: 0 };
        let changes = clock::chosen(aim.knobs).into_iter().map(|clock| (clock, change));
        clock::bend(cluster, aim, &changes.collect::<Vec<_>>(), hold)
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        clock::restore(cluster, hold, others)
    }
}
