//! Stops nodes with SIGSTOP and lets them go on with SIGCONT.
//!
//! A paused node keeps memory, sockets and whatever it believed: a leader that wakes up still thinks that it leads.
//! The kernel goes on acknowledging what its peers send, until the socket buffers are full, so to them it is a
//! node that is slow without limit, not one that is gone.

use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};
use nix::unistd::Pid;

use super::hold::{Hold, Paused};
use super::process::{heal_each, look, running, stat_source};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::Cluster;
use crate::proc::{self, Identity, Stat};
use crate::target::{Rng, Target};

/// SIGSTOP to each target, SIGCONT to heal.
pub(super) struct Pause;

const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority, Target::Majority];

/// A thread stops, or goes on, when the kernel next schedules it; on a busy machine that takes a while.
const SIGNAL_TAKES_MAX: Duration = Duration::from_millis(500);

impl Fault for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn about(&self) -> &'static str {
        "stop the targets with SIGSTOP and let them go on with SIGCONT"
    }

    fn needs(&self) -> Needs {
        Needs::Processes
    }

    fn targets(&self) -> &'static [Target] {
        TARGETS
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        for &node in aim.targets {
            let Some((pid, stat)) = running(cluster, node)? else {
                proof.note("processes", Some(node), "down");
                continue;
            };
            if stat.is_stopped() && stays_stopped(node, pid)? {
                proof.note(stat_source(pid), Some(node), "paused already");
                continue;
            }
            let identity = Identity { pid, start_ticks: stat.start_ticks };
            hold.paused.insert(node, Paused { identity, cpu_ticks: stat.cpu_ticks });
            cluster.processes().pause(node)?;
            let threads = settled(node, pid, are_stopped)?;
            let stopped = threads.iter().filter(|thread| thread.is_stopped()).count();
            let all = are_stopped(&threads) && stays_stopped(node, pid)?;
            let seen = format!("{stopped} of {} threads in state T", threads.len());
            proof.require(all, task_source(pid), Some(node), seen);
            let cpu_ticks = look(node, pid)?.map_or(stat.cpu_ticks, |stat| stat.cpu_ticks);
            hold.paused.insert(node, Paused { identity, cpu_ticks });
        }
        Ok(if hold.paused.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        heal_each(&mut hold.paused, &others.paused, "stays paused", &mut proof, |node, paused, proof| {
            resume_held(cluster, node, paused, proof)
        })?;
        Ok(proof.receipt())
    }
}

/// Resumes a node after a last look at whether it stood still all the time.
fn resume_held(
    cluster: &mut dyn Cluster,
    node: NodeId,
    paused: Paused,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let Some((pid, stat)) = running(cluster, node)? else {
        proof.note("processes", Some(node), "down; nothing to resume");
        return Ok(());
    };
    if (Identity { pid, start_ticks: stat.start_ticks }) == paused.identity {
        // State T could be a stop that came just now. Time on the processor remembers the whole pause.
        let ran = stat.cpu_ticks.saturating_sub(paused.cpu_ticks);
        let seen = format!("state {}, {ran} ticks of processor time while paused", stat.state);
        let stood_still = stat.is_stopped() && ran == 0;
        proof.require(stood_still, stat_source(pid), Some(node), seen);
    } else {
        proof.note("processes", Some(node), "another process by now");
    }
    resume(cluster, node, pid, proof)
}

/// SIGCONT, and proof that no thread is stopped any more.
pub(super) fn resume(
    cluster: &mut dyn Cluster,
    node: NodeId,
    pid: Pid,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    cluster.processes().resume(node)?;
    let threads = settled(node, pid, |threads| !threads.iter().any(|thread| thread.is_stopped()))?;
    let stopped = threads.iter().filter(|thread| thread.is_stopped()).count();
    let seen = format!("{stopped} of {} threads in state T after SIGCONT", threads.len());
    proof.require(!threads.is_empty() && stopped == 0, task_source(pid), Some(node), seen);
    Ok(())
}

/// The threads once they are as `wanted`, or as they are when waiting no longer makes sense.
fn settled(node: NodeId, pid: Pid, wanted: impl Fn(&[Stat]) -> bool) -> Result<Vec<Stat>, FaultError> {
    let deadline = Instant::now() + SIGNAL_TAKES_MAX;
    loop {
        let threads = proc::threads(pid).map_err(|source| FaultError::Proc { node, source })?;
        if wanted(&threads) || Instant::now() >= deadline {
            return Ok(threads);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn are_stopped(threads: &[Stat]) -> bool {
    !threads.is_empty() && threads.iter().all(|thread| thread.is_stopped())
}

/// Whether every thread is stopped now and a little later. A thread whose waits are traced shows as stopped for some
/// microseconds at each of them.
fn stays_stopped(node: NodeId, pid: Pid) -> Result<bool, FaultError> {
    for _ in 0..3 {
        let threads = proc::threads(pid).map_err(|source| FaultError::Proc { node, source })?;
        if !are_stopped(&threads) {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

fn task_source(pid: Pid) -> String {
    format!("/proc/{pid}/task/*/stat")
}
