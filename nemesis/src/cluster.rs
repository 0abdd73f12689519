//! A cluster as the nemesis sees it: processes and links, and who leads. It never learns which system runs.

use std::time::Duration;

use checkers::history::NodeId;
use nix::unistd::Pid;

use crate::net::{Burst, Link, LinkCounters, Rule, Sighting};

/// Starts, stops and looks at the OS processes of the nodes.
///
/// Implementations stand for one run and are called from one thread at a time.
pub trait Processes {
    /// The pid of the node's process, `None` while it is down.
    fn pid(&self, node: NodeId) -> Option<Pid>;
    /// SIGKILL, and wait until the process is reaped. Returns how it ended, in words that name the signal, as
    /// `waitid` reported it: `signal 9 (SIGKILL)`.
    fn kill(&mut self, node: NodeId) -> Result<String, ClusterError>;
    /// Start a node that is down. Returns its new pid once the process exists.
    fn start(&mut self, node: NodeId) -> Result<Pid, ClusterError>;
    /// SIGSTOP every thread of the node's process.
    fn pause(&mut self, node: NodeId) -> Result<(), ClusterError>;
    /// SIGCONT.
    fn resume(&mut self, node: NodeId) -> Result<(), ClusterError>;
}

/// Changes and measures the links, by direction: between nodes, and between nodes and the harness with its clients.
pub trait Links {
    /// Replace the rule of the link.
    fn set(&mut self, link: Link, rule: Rule);
    /// The rule in force.
    fn rule(&self, link: Link) -> Rule;
    /// What the switch has counted on that link since boot.
    fn counters(&self, link: Link) -> LinkCounters;
    /// Sends a small datagram from inside the network of one end to that of the other and waits for it to arrive.
    /// `Ok(false)` if it did not arrive within `wait`. Does not involve the nodes' processes.
    fn probe(&self, link: Link, wait: Duration) -> Result<bool, ClusterError>;
    /// Sends numbered datagrams along all of these links at once, likewise, and tells what became of them: a sighting
    /// for each link, in order.
    fn burst(&self, links: &[Link], burst: &Burst) -> Result<Vec<Sighting>, ClusterError>;
}

/// What a fault may use. A fault that needs more than the cluster has is refused before the run.
pub trait Cluster {
    /// All nodes, in order.
    fn nodes(&self) -> Vec<NodeId>;
    /// The node that leads the highest term known, if it is up.
    fn leader(&self) -> Option<NodeId>;
    /// The processes.
    fn processes(&mut self) -> &mut dyn Processes;
    /// The links, where the sandbox has a switch.
    fn links(&mut self) -> Option<&mut dyn Links>;
}

/// Why something could not be done to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The node is not running.
    #[error("{0} is not running")]
    Down(NodeId),
    /// The node is running already.
    #[error("{0} is already running")]
    Up(NodeId),
    /// A link could not be looked at.
    #[error("failed to send datagrams over {link}: {source}")]
    Link {
        /// Which.
        link: Link,
        /// The error.
        source: std::io::Error,
    },
    /// The operating system refused.
    #[error("failed to {action} {node}: {source}")]
    Os {
        /// What was tried: `kill`, `start`, ….
        action: &'static str,
        /// On which node.
        node: NodeId,
        /// The error.
        source: std::io::Error,
    },
}
