//! A cluster as the nemesis sees it: processes, links, clocks, disks, members, and who leads. It never learns which
//! system runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use checkers::history::NodeId;
use nix::unistd::Pid;

use crate::clock::probe::Probe;
use crate::clock::{Change, Clock};
use crate::disk::FaultyDisk;
use crate::net::{Burst, Link, LinkCounters, Rule, Sighting};
use crate::signals::Signals;

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
    /// Deletes what a node that is down has on its disk.
    fn wipe(&mut self, node: NodeId) -> Result<(), ClusterError> {
        let reason = "where its data lies is not known".to_owned();
        Err(ClusterError::Refused { action: "wipe", node, reason })
    }
}

/// Lets nodes die at points of their own code, for systems that have such points.
pub trait Failpoints {
    /// Points that a working node reaches again and again.
    fn points(&self) -> &'static [&'static str];
    /// Lets the node die when it reaches the point for the `nth` time from now.
    fn arm(&mut self, node: NodeId, point: &str, nth: u64) -> Result<(), ClusterError>;
    /// Takes back whatever is armed in the node.
    fn disarm(&mut self, node: NodeId) -> Result<(), ClusterError>;
    /// How the node ended at an armed point, in words as `waitid` reported it; `None` while it has not.
    fn ended(&mut self, node: NodeId) -> Option<String>;
}

/// Changes who belongs to the cluster and who leads it, by asking the system as an operator would.
///
/// Each call asks once; whoever calls looks at the members to learn what came of it.
pub trait Membership {
    /// The members as `asked` knows them, and whether each has a vote.
    fn members(&mut self, asked: NodeId) -> Result<BTreeMap<NodeId, Voice>, ClusterError>;
    /// Makes the node a member without a vote.
    fn add(&mut self, node: NodeId) -> Result<(), ClusterError>;
    /// Gives a member a vote.
    fn promote(&mut self, node: NodeId) -> Result<(), ClusterError>;
    /// Ends the node's membership. Its process goes on.
    fn remove(&mut self, node: NodeId) -> Result<(), ClusterError>;
    /// Asks the leader to hand over to this node.
    fn transfer(&mut self, to: NodeId) -> Result<(), ClusterError>;
}

/// Whether a member has a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It counts for elections and commits.
    Voter,
    /// It only receives the log.
    Learner,
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

/// Bends the clocks of single nodes, and lets them be read from outside.
pub trait Clocks {
    /// Bends a clock of the node. Its process follows at once, and a new one begins with the clock bent.
    fn bend(&mut self, node: NodeId, clock: Clock, change: Change) -> Result<(), ClusterError>;
    /// Heals a clock of the node. MONOTONIC goes on at its true speed from where it is; it never goes back.
    fn restore(&mut self, node: NodeId, clock: Clock) -> Result<(), ClusterError>;
    /// Whether the clock was bent and not healed since.
    fn is_bent(&self, node: NodeId, clock: Clock) -> bool;
    /// A program of our own that sees the clocks as the node does.
    fn probe(&self, node: NodeId) -> Result<Probe, ClusterError>;
    /// Whether the kernel lists what bends the clocks among what the node's process has mapped.
    fn is_hooked(&self, node: NodeId) -> Result<bool, ClusterError>;
}

/// The nodes' data directories, where they lie on disks that can be hurt.
pub trait Disks {
    /// The disk under the node's data directory.
    fn disk(&self, node: NodeId) -> Arc<dyn FaultyDisk>;
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
    /// The clocks, where the nodes were started so that they can be bent.
    fn clocks(&mut self) -> Option<&mut dyn Clocks> {
        None
    }
    /// The disks, where the nodes' data lies on faulty ones.
    fn disks(&mut self) -> Option<&mut dyn Disks> {
        None
    }
    /// Points at which nodes can be told to die, if the system has them.
    fn failpoints(&mut self) -> Option<&mut dyn Failpoints> {
        None
    }
    /// Members and leadership, if the system lets them be changed.
    fn membership(&mut self) -> Option<&mut dyn Membership> {
        None
    }
    /// What the cluster shows of itself now, for triggers. It is asked for every few milliseconds while a step waits, so
    /// it must be cheap.
    fn signals(&self) -> Signals {
        Signals { leader: self.leader(), ..Signals::default() }
    }
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
    /// The system under test refused, or did not answer.
    #[error("failed to {action} {node}: {reason}")]
    Refused {
        /// What was asked: `remove`, `add`, ….
        action: &'static str,
        /// Of which node.
        node: NodeId,
        /// What it answered.
        reason: String,
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
