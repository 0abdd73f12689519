//! The systems that the harness can run. An adapter is one file and one line in [`SYSTEMS`].

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use checkers::history::NodeId;

use crate::config::{RunConfig, Settings};
use crate::error::Result;
use crate::names;

mod client;
mod etcd_gateway;
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
    /// The port on which a node takes requests that `curl` can send, if it has one.
    fn http_port(&self) -> Option<u16>;
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
    /// Seeds its own random choices.
    pub seed: u64,
}
