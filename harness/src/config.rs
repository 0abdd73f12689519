//! What was asked of a run: the command line, checked, before anything is drawn from the seed.

use nemesis::target::Target;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the nodes of the cluster are set. Systems take what they have and refuse what they lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Ask before campaigning (Raft thesis, §9.6).
    pub pre_vote: bool,
    /// A leader without a quorum steps down (Raft thesis, §6.2).
    pub check_quorum: bool,
    /// Time between heartbeats.
    pub heartbeat_ms: u64,
    /// The least election timeout.
    pub election_ms: u64,
    /// Applied entries between two snapshots.
    pub snapshot_entries: u64,
    /// The planted bug, if any.
    pub bug: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pre_vote: true,
            check_quorum: true,
            heartbeat_ms: 100,
            election_ms: 1000,
            snapshot_entries: 1000,
            bug: None,
        }
    }
}

impl Settings {
    /// Whether the times can work at all.
    pub fn check(&self) -> Result<()> {
        if self.heartbeat_ms < 10 {
            return Err(Error::usage("--heartbeat-ms must be at least 10, one tick of a node"));
        }
        if self.election_ms < 3 * self.heartbeat_ms {
            return Err(Error::usage(format!(
                "--election-ms {} is too short for --heartbeat-ms {}",
                self.election_ms, self.heartbeat_ms
            ))
            .help("an election timeout of ten heartbeats is usual; it must be at least three"));
        }
        if self.snapshot_entries == 0 {
            return Err(Error::usage("--snapshot-entries must be at least 1"));
        }
        Ok(())
    }
}

/// Everything that was asked.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Name of the system.
    pub system: String,
    /// How many nodes.
    pub nodes: u16,
    /// Name of the workload.
    pub workload: String,
    /// Which faults, each with a target if one was asked for.
    pub faults: Vec<(String, Option<Target>)>,
    /// How long clients and nemesis work.
    pub time_limit_ms: u64,
    /// Operations a second, all processes together.
    pub rate: u32,
    /// How many processes.
    pub concurrency: u32,
    /// After this time without an answer an operation is given up.
    pub operation_timeout_ms: u64,
    /// How long the healed cluster may take until it serves on every node.
    pub recovery_limit_ms: u64,
    /// How the nodes are set.
    pub settings: Settings,
}

/// More nodes than this do not fit the addresses of the sandbox, nor the machine.
const NODES_MAX: u16 = 99;

impl RunConfig {
    /// Whether the run can be planned.
    pub fn check(&self) -> Result<()> {
        self.settings.check()?;
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return Err(Error::usage(format!("--nodes {}: choose 1 to {NODES_MAX} nodes", self.nodes)));
        }
        if self.concurrency == 0 || self.rate == 0 {
            return Err(Error::usage("--concurrency and --rate must be at least 1"));
        }
        if self.operation_timeout_ms == 0 || self.time_limit_ms == 0 || self.recovery_limit_ms == 0 {
            return Err(Error::usage(
                "--time-limit, --operation-timeout-ms and --recovery-limit must not be 0",
            ));
        }
        Ok(())
    }
}
