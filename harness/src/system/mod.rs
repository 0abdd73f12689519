//! The systems that the harness can run. An adapter is one file and one line in [`SYSTEMS`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use checkers::history::NodeId;
use nemesis::cluster::Voice;
use nemesis::faults::Needs;

use crate::config::{RunConfig, Settings};
use crate::error::Result;
use crate::names;

mod client;
mod etcd_gateway;
mod etcd_members;
mod raft_kv;

pub use client::{Client, ClientOptions};
pub use raft_kv::{RaftKv, rules};

/// Every system, in the order shown by `harness list`.
pub const SYSTEMS: &[&dyn System] = &[&RaftKv];

/// The system of that name; an error offers the nearest.
pub fn find(name: &str) -> Result<&'static dyn System> {
    names::find("system", name, SYSTEMS.iter().copied(), |system| system.name())
}

/// What an adapter must say about a system.
pub trait System: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it is, in a line.
    fn about(&self) -> &'static str;
    /// Refuses what the system cannot do, before anything boots.
    fn check(&self, config: &RunConfig) -> Result<()>;
    /// How a node is started. Standard output and error, and the network, are set by the caller.
    fn command(&self, node: &NodeSpec, settings: &Settings) -> Command;
    /// A client for one process, bound to one node. It must not retry.
    fn client(&self, node: &NodeSpec, options: ClientOptions) -> Box<dyn Client>;
    /// Where leaders and terms can be seen.
    fn observe(&self, node: &NodeSpec) -> Observe;
    /// Points at which a node can be told to die, if it has them.
    fn failpoints(&self) -> Option<Points> {
        None
    }
    /// How members and leadership are changed, if they can be.
    fn members(&self) -> Option<&'static dyn Members> {
        None
    }
    /// Why faults cannot act on this, if the system lacks it. What the machine lacks is not its matter.
    fn lack(&self, needs: Needs) -> Option<String> {
        match needs {
            Needs::Failpoints if self.failpoints().is_none() => {
                Some(format!("{} has no points at which a node can be told to die", self.name()))
            }
            Needs::Membership if self.members().is_none() => {
                Some(format!("{} does not let its members be changed", self.name()))
            }
            _ => None,
        }
    }
    /// The port on which a node takes requests that `curl` can send, if it has one.
    fn http_port(&self) -> Option<u16>;
}

/// Points at which a node can be told to die, by a line `NAME=crash@NTH` in its file of failpoints.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// Every one.
    pub all: &'static [&'static str],
    /// Those that a working node reaches again and again.
    pub usual: &'static [&'static str],
    /// The status that a node exits with when it dies there.
    pub exit_status: i32,
}

/// Changes who belongs to the cluster and who leads it. Each call is one request to the node that is `asked`.
pub trait Members: Sync {
    /// The members as that node knows them; an error says in words what it answered.
    fn list(&self, asked: &NodeSpec) -> std::result::Result<BTreeMap<NodeId, Voice>, String>;
    /// Asks for a change that concerns `node`. An error may mean that it happened all the same.
    fn change(&self, asked: &NodeSpec, change: Change, node: &NodeSpec) -> std::result::Result<(), String>;
}

/// A change of members or leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node becomes a member without a vote.
    Add,
    /// It gets a vote.
    Promote,
    /// It is no member any more.
    Remove,
    /// It shall lead.
    Transfer,
}

/// Where leaders and terms of a node can be seen.
pub enum Observe {
    /// In a trace file in the project's format.
    Trace(PathBuf),
}

/// One node of a run.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Which.
    pub id: NodeId,
    /// Its address in the sandbox.
    pub address: Ipv4Addr,
    /// All nodes with their addresses, this one included.
    pub members: Vec<(NodeId, Ipv4Addr)>,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Where it writes its trace, outside the data directory.
    pub trace: PathBuf,
    /// Where it looks for points at which to die, if a fault of the run needs them.
    pub failpoints: Option<PathBuf>,
    /// Whether it knows nothing and waits until a member tells it of the others.
    pub joins: bool,
    /// Seeds its own random choices.
    pub seed: u64,
}
