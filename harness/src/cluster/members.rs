//! Members and leadership, as the nemesis asks for them: whom to ask is decided here, how is the system's.

use std::collections::BTreeMap;

use checkers::history::NodeId;
use nemesis::cluster::{ClusterError, Membership, Processes, Voice};

use super::Cluster;
use crate::system::{Change, Members};

impl Membership for Cluster {
    fn members(&mut self, asked: NodeId) -> Result<BTreeMap<NodeId, Voice>, ClusterError> {
        if self.pid(asked).is_none() {
            return Err(ClusterError::Down(asked));
        }
        let refused =
            |reason| ClusterError::Refused { action: "learn the members from", node: asked, reason };
        self.api().list(self.spec(asked)).map_err(refused)
    }

    fn add(&mut self, node: NodeId) -> Result<(), ClusterError> {
        self.change(Change::Add, "add", node)
    }

    fn promote(&mut self, node: NodeId) -> Result<(), ClusterError> {
        self.change(Change::Promote, "promote", node)
    }

    fn remove(&mut self, node: NodeId) -> Result<(), ClusterError> {
        self.change(Change::Remove, "remove", node)
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), ClusterError> {
        self.change(Change::Transfer, "hand leadership over to", to)
    }
}

impl Cluster {
    fn api(&self) -> &'static dyn Members {
        self.shared.system.members().expect("membership is offered only where the system has it")
    }

    /// Asks the leader, who would be asked in the end; without one, nobody could do it.
    fn change(&self, change: Change, action: &'static str, node: NodeId) -> Result<(), ClusterError> {
        let refused = |reason| ClusterError::Refused { action, node, reason };
        let leader = nemesis::cluster::Cluster::leader(self);
        let leader = leader.ok_or_else(|| refused("no leader is known".to_owned()))?;
        self.api().change(self.spec(leader), change, self.spec(node)).map_err(refused)
    }
}
