//! Lets nodes die at a chosen point of their own code.
//!
//! A kill from outside falls where it falls. The windows in which crashes do harm, such as between a sync and the answer
//! that it allows, are microseconds wide; a failpoint puts the crash into one of them.
//!
//! A point that is not reached is no crash: the fault is skipped, with the points that were tried.

use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};
use rand::seq::SliceRandom;

use super::hold::Hold;
use super::kill::start;
use super::process::{heal_each, look, running, stat_source};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, Failpoints};
use crate::knobs::{Knob, Range};
use crate::proc::Identity;
use crate::target::{Rng, Target};

/// A failpoint to each target; heal starts what died.
pub(super) struct CrashAt;

const TARGETS: &[Target] = &[Target::Leader, Target::One];

/// The word for a point of the system's, by chance.
const ANY: &str = "any";

const KNOBS: &[Knob] = &[
    Knob {
        name: "point",
        about: "where to die; `any` is one that working nodes reach",
        range: Range::Text(&[ANY]),
    },
    Knob {
        name: "nth",
        about: "die when the point is reached for this time",
        range: Range::Number { min: 1, max: 1_000_000, usual: &[1, 3, 20] },
    },
    Knob {
        name: "wait_ms",
        about: "how long a point may take to be reached",
        range: Range::Number { min: 100, max: 60_000, usual: &[1_000] },
    },
];

/// A node looks at what is armed every few milliseconds of its own, so one that was disarmed may still die that long.
const STILL_ARMED: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);

impl Fault for CrashAt {
    fn name(&self) -> &'static str {
        "crash-at"
    }

    fn about(&self) -> &'static str {
        "let the targets die at a chosen point of their own code, and start them again"
    }

    fn needs(&self) -> Needs {
        Needs::Failpoints
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
        rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        let nth = aim.knobs.number("nth").unsigned_abs();
        let wait = Duration::from_millis(aim.knobs.number("wait_ms").unsigned_abs());
        let mut points = match aim.knobs.word("point") {
            ANY => failpoints(cluster)?.points().to_vec(),
            point => vec![point],
        };
        for &node in aim.targets {
            points.shuffle(rng);
            let Some((pid, stat)) = running(cluster, node)? else {
                proof.note("processes", Some(node), "down already");
                continue;
            };
            let identity = Identity { pid, start_ticks: stat.start_ticks };
            hold.armed.insert(node);
            let mut crashed = None;
            for point in &points {
                crashed = crash(failpoints(cluster)?, node, point, nth, wait)?.map(|status| (point, status));
                if crashed.is_some() {
                    break;
                }
            }
            hold.armed.remove(&node);
            let Some((point, status)) = crashed else {
                let seen = format!("alive, {} not reached {nth} times within {wait:?}", points.join(", "));
                proof.note("processes", Some(node), seen);
                continue;
            };
            hold.killed.insert(node, identity);
            proof.note("waitid", Some(node), format!("{status}, armed to die at {point}"));
            let left = look(node, pid)?.filter(|stat| stat.start_ticks == identity.start_ticks);
            let seen = left.map_or("gone".to_owned(), |stat| format!("still there, state {}", stat.state));
            proof.require(left.is_none(), stat_source(pid), Some(node), seen);
        }
        Ok(if hold.killed.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for node in hold.armed.clone() {
            failpoints(cluster)?.disarm(node)?;
            hold.armed.remove(&node);
        }
        heal_each(&mut hold.killed, &others.killed, "stays down", &mut proof, |node, killed, proof| {
            start(cluster, node, Some(killed), proof)
        })?;
        Ok(proof.receipt())
    }
}

fn failpoints(cluster: &mut dyn Cluster) -> Result<&mut dyn Failpoints, FaultError> {
    cluster.failpoints().ok_or(FaultError::NoFailpoints)
}

/// Arms a point and waits until the node has died at it, or until `wait` is over. It is disarmed in either case: what is
/// still armed kills the next life too.
fn crash(
    failpoints: &mut dyn Failpoints,
    node: NodeId,
    point: &str,
    nth: u64,
    wait: Duration,
) -> Result<Option<String>, FaultError> {
    failpoints.arm(node, point, nth)?;
    let ended = await_end(failpoints, node, wait);
    failpoints.disarm(node)?;
    Ok(ended.or_else(|| await_end(failpoints, node, STILL_ARMED)))
}

fn await_end(failpoints: &mut dyn Failpoints, node: NodeId, wait: Duration) -> Option<String> {
    let deadline = Instant::now() + wait;
    loop {
        let ended = failpoints.ended(node);
        if ended.is_some() || Instant::now() >= deadline {
            return ended;
        }
        thread::sleep(POLL);
    }
}
