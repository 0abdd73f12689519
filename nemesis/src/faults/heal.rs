//! The final heal: whatever state a run leaves the cluster in, afterwards every link is open, every clock right, every
//! disk works and every node runs.
//!
//! It does not trust what the faults say they hold. It looks at each link, disk and process, so that it also repairs what
//! a failed injection, a failed heal or a crash left behind.

use std::collections::BTreeSet;

use checkers::history::{NodeId, Receipt};

use super::FaultError;
use super::clock;
use super::disk::require_sound;
use super::kill::start;
use super::links::require_open;
use super::members::restore;
use super::pause::resume;
use super::process::running;
use super::proof::Proof;
use super::shape::{all_links, client_links};
use crate::cluster::Cluster;
use crate::disk::Pattern;
use crate::net::Rule;

/// The name under which histories record it.
pub const FINAL_HEAL: &str = "heal";

/// Resumes every node, starts what is down, and sets every link to the default rule.
///
/// # Errors
///
/// As for [`everything_and_members`].
pub fn everything(cluster: &mut dyn Cluster) -> Result<Receipt, FaultError> {
    everything_and_members(cluster, &BTreeSet::new())
}

/// Resumes every node, starts what is down, takes back all rules of disks, sets every link to the default rule, and gives those their vote back that were
/// `removed` at some time in the run. All of it is tried, whatever fails first.
///
/// # Errors
///
/// The first thing that could not be done.
pub fn everything_and_members(
    cluster: &mut dyn Cluster,
    removed: &BTreeSet<NodeId>,
) -> Result<Receipt, FaultError> {
    let mut proof = Proof::default();
    let mut first_error = open_links(cluster, &mut proof).err();
    first_error = first_error.or(disarm(cluster).err());
    first_error = first_error.or(clock::restore_all(cluster, &mut proof).err());
    for node in cluster.nodes() {
        // Before its node is started, which reads it.
        if let Err(error) = mend_disk(cluster, node, &mut proof) {
            first_error.get_or_insert(error);
        }
        if let Err(error) = revive(cluster, node, &mut proof) {
            first_error.get_or_insert(error);
        }
    }
    // Last, as it needs a cluster that works.
    for &node in removed {
        if let Err(error) = restore(cluster, node, &mut proof) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(proof.receipt()), Err)
}

/// Before anything is started: what is armed kills the next life too.
fn disarm(cluster: &mut dyn Cluster) -> Result<(), FaultError> {
    let nodes = cluster.nodes();
    let Some(failpoints) = cluster.failpoints() else {
        return Ok(());
    };
    Ok(nodes.into_iter().try_for_each(|node| failpoints.disarm(node))?)
}

fn open_links(cluster: &mut dyn Cluster, proof: &mut Proof) -> Result<(), FaultError> {
    let nodes = cluster.nodes();
    let all = all_links(&nodes).chain(client_links(&nodes)).collect::<Vec<_>>();
    // Without a switch there was nothing to cut.
    let Some(links) = cluster.links() else {
        return Ok(());
    };
    for &link in &all {
        links.set(link, Rule::default());
    }
    require_open(links, &all, proof)
}

fn mend_disk(cluster: &mut dyn Cluster, node: NodeId, proof: &mut Proof) -> Result<(), FaultError> {
    // Without faulty disks there was nothing to hurt.
    let Some(disks) = cluster.disks() else { return Ok(()) };
    let disk = disks.disk(node);
    let left = disk.disarm_all();
    disk.thaw();
    if left > 0 {
        proof.note("disk journal", Some(node), format!("{left} rules had been left in force"));
    }
    require_sound(&*disk, node, &Pattern::new("*"), proof)
}

fn revive(cluster: &mut dyn Cluster, node: NodeId, proof: &mut Proof) -> Result<(), FaultError> {
    match running(cluster, node)? {
        // SIGCONT does nothing to a process that runs, and a stop that is still on its way is cancelled by it.
        Some((pid, _)) => resume(cluster, node, pid, proof),
        None => start(cluster, node, None, proof),
    }
}
