//! What the faults on processes share: looking at a node in `/proc`, and undoing what a hold says node by node.

use std::collections::BTreeMap;

use checkers::history::NodeId;
use nix::unistd::Pid;

use super::FaultError;
use super::proof::Proof;
use crate::cluster::Cluster;
use crate::proc::{self, Stat};

/// The node's process as the cluster names it and the kernel sees it, if it is alive.
pub(super) fn running(cluster: &mut dyn Cluster, node: NodeId) -> Result<Option<(Pid, Stat)>, FaultError> {
    let Some(pid) = cluster.processes().pid(node) else {
        return Ok(None);
    };
    Ok(look(node, pid)?.filter(|stat| stat.is_alive()).map(|stat| (pid, stat)))
}

/// The kernel's view of this process, `None` once it is gone.
pub(super) fn look(node: NodeId, pid: Pid) -> Result<Option<Stat>, FaultError> {
    proc::stat(pid).map_err(|source| FaultError::Proc { node, source })
}

/// Where a look at a process comes from, for receipts.
pub(super) fn stat_source(pid: Pid) -> String {
    proc::stat_path(pid).display().to_string()
}

/// Undoes what is held of each node, unless `others` hold it as well. A node that is done with is taken out of `held`.
///
/// # Errors
///
/// The first that there was. All nodes are tried: one that cannot be healed must not keep the others hurt.
pub(super) fn heal_each<T: Clone, U>(
    held: &mut BTreeMap<NodeId, T>,
    others: &BTreeMap<NodeId, U>,
    stays: &str,
    proof: &mut Proof,
    mut undo: impl FnMut(NodeId, T, &mut Proof) -> Result<(), FaultError>,
) -> Result<(), FaultError> {
    let mut first_error = None;
    for (node, hurt) in held.clone() {
        if others.contains_key(&node) {
            proof.note("nemesis", Some(node), format!("{stays} for another fault"));
            held.remove(&node);
            continue;
        }
        match undo(node, hurt, proof) {
            Ok(()) => drop(held.remove(&node)),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    first_error.map_or(Ok(()), Err)
}
