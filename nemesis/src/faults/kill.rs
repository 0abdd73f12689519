//! Kills nodes with SIGKILL and starts them again.
//!
//! A killed node loses its memory but keeps what it has written, even what it never synced: the page cache belongs
//! to the kernel. Its peers see connections closed, as the kernel closes them for it.

use checkers::history::{NodeId, Receipt};

use super::hold::Hold;
use super::process::{heal_each, look, running, stat_source};
use super::proof::Proof;
use super::{Aim, Fault, FaultError, Needs};
use crate::cluster::{Cluster, ClusterError};
use crate::proc::Identity;
use crate::target::{Rng, Target};

/// SIGKILL to each target; heal starts what it killed.
pub(super) struct Kill;

const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority, Target::Majority, Target::All];

impl Fault for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn about(&self) -> &'static str {
        "kill the targets with SIGKILL and start them again"
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
                proof.note("processes", Some(node), "down already");
                continue;
            };
            let identity = Identity { pid, start_ticks: stat.start_ticks };
            hold.killed.insert(node, identity);
            kill(cluster, node, identity, &mut proof)?;
        }
        Ok(if hold.killed.is_empty() { proof.skipped() } else { proof.receipt() })
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let mut proof = Proof::default();
        heal_each(&mut hold.killed, &others.killed, "stays down", &mut proof, |node, killed, proof| {
            start(cluster, node, Some(killed), proof)
        })?;
        Ok(proof.receipt())
    }
}

/// SIGKILL, and proof that the process has ended by it.
pub(super) fn kill(
    cluster: &mut dyn Cluster,
    node: NodeId,
    process: Identity,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let status = cluster.processes().kill(node)?;
    // A node that crashed a moment before is down as well, but was not killed.
    proof.require(status.contains("SIGKILL"), "waitid", Some(node), status);
    let left = look(node, process.pid)?.filter(|stat| stat.start_ticks == process.start_ticks);
    let seen = left.map_or("gone".to_owned(), |stat| format!("still there, state {}", stat.state));
    proof.require(left.is_none(), stat_source(process.pid), Some(node), seen);
    Ok(())
}

/// Starts a node if it is down, and shows that its process is another one than `before`.
pub(super) fn start(
    cluster: &mut dyn Cluster,
    node: NodeId,
    before: Option<Identity>,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    match cluster.processes().start(node) {
        // What counts is that it runs, whoever started it.
        Ok(_) | Err(ClusterError::Up(_)) => (),
        Err(error) => return Err(error.into()),
    }
    let Some((pid, stat)) = running(cluster, node)? else {
        proof.require(false, "processes", Some(node), "not running after its start");
        return Ok(());
    };
    let now = Identity { pid, start_ticks: stat.start_ticks };
    let seen = format!("state {}, started at tick {}", stat.state, stat.start_ticks);
    let seen = match before {
        Some(before) => format!("{seen}; before: pid {}, tick {}", before.pid, before.start_ticks),
        None => seen,
    };
    proof.require(before != Some(now), stat_source(pid), Some(node), seen);
    Ok(())
}
