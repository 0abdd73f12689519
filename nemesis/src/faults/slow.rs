//! Slows nodes: they run for a part of the time only, in slices far shorter than a heartbeat.
//!
//! A slow node is worse for its peers than a dead one: it holds its place in the quorum, answers, and is late with
//! everything. A slow leader keeps its followers and starves its clients.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};
use nix::unistd::Pid;

use super::hold::{Hold, Slowed};
use super::pause::resume;
use super::process::{heal_each, look, running, stat_source};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, ClusterError};
use crate::knobs::{Knob, Range};
use crate::proc::Identity;
use crate::target::{Rng, Target};
use crate::throttle::Throttle;

/// SIGSTOP and SIGCONT in turn, many times a second.
pub(super) struct Slow;

const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority];

const KNOBS: &[Knob] = &[Knob {
    name: "percent",
    about: "the part of the time for which the targets run",
    range: Range::Number { min: 1, max: 90, usual: &[10, 25, 50] },
}];

/// Looks at a process that is to be slowed.
const LOOKS: u32 = 40;
/// Time between two looks: no divisor of the throttle's period, so that they fall on all parts of it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(7);
/// How long is looked for a moment in which it runs. A process that runs for one per cent of the time is seen then.
const LOOKS_MAX: Duration = Duration::from_secs(3);

impl Fault for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn about(&self) -> &'static str {
        "let the targets run for a part of the time only, by SIGSTOP and SIGCONT many times a second"
    }

    fn needs(&self) -> Needs {
        Needs::Processes
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn knobs(&self) -> &'static [Knob] {
        KNOBS
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        let percent = u32::try_from(aim.knobs.number("percent")).expect("the knob's range is within a u32");
        for &node in aim.targets {
            let Some((pid, stat)) = running(cluster, node)? else {
                proof.note("processes", Some(node), "down");
                continue;
            };
            if stat.is_stopped() {
                proof.note(stat_source(pid), Some(node), "stopped already");
                continue;
            }
            let identity = Identity { pid, start_ticks: stat.start_ticks };
            let os = |source| ClusterError::Os { action: "slow", node, source };
            let throttle = Arc::new(Throttle::start(pid, percent).map_err(os)?);
            hold.slowed.insert(node, Slowed { identity, throttle, percent });
            require_slow(node, pid, percent, &mut proof)?;
        }
        Ok(if hold.slowed.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        heal_each(&mut hold.slowed, &others.slowed, "stays slow", &mut proof, |node, slowed, proof| {
            let now = running(cluster, node)?;
            let same = now.filter(|(pid, stat)| {
                Identity { pid: *pid, start_ticks: stat.start_ticks } == slowed.identity
            });
            match same {
                // Paused by another fault, it is not seen to run; that fault has the word.
                Some(_) if others.paused.contains_key(&node) => {
                    proof.note("nemesis", Some(node), "paused for another fault");
                }
                Some((pid, _)) => require_slow(node, pid, slowed.percent, proof)?,
                None => proof.note("processes", Some(node), "down, or another process by now"),
            }
            // Ended first: afterwards nobody stops the process any more.
            slowed.throttle.end();
            match same {
                Some((pid, _)) if !others.paused.contains_key(&node) => resume(cluster, node, pid, proof),
                Some(_) | None => Ok(()),
            }
        })?;
        Ok(proof.receipt())
    }
}

/// Looks at the process until it was seen to run and to stand still, and requires that it stood still for at least half
/// as much of the time as it should.
fn require_slow(node: NodeId, pid: Pid, percent: u32, proof: &mut Proof) -> Result<(), FaultError> {
    let began = Instant::now();
    let (mut looks, mut stopped) = (0_u32, 0_u32);
    while looks < LOOKS || (stopped == looks && began.elapsed() < LOOKS_MAX) {
        match look(node, pid)? {
            Some(stat) => stopped += u32::from(stat.is_stopped()),
            None => break,
        }
        looks += 1;
        thread::sleep(BETWEEN_LOOKS);
    }
    let seen = format!("stopped at {stopped} of {looks} looks; asked to run for {percent} % of the time");
    // Half of it allows for chance and for a busy machine, which is late with both signals.
    let is_slow = stopped < looks && 200 * stopped >= looks * (100 - percent);
    proof.require(is_slow, stat_source(pid), Some(node), seen);
    Ok(())
}
