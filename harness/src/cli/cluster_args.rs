//! The options that `test` and `up` share: which cluster, and where.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::config::{Reads, Settings};

/// A switch with two positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// The system under test
    #[arg(long, default_value = "raft-kv", value_name = "NAME")]
    pub(super) system: String,
    /// How many nodes [default: 5, or the scenario's]
    #[arg(long, value_name = "N")]
    nodes: Option<u16>,
    /// Ask before campaigning (Raft thesis, 9.6)
    #[arg(long, default_value = "on", value_name = "on|off", hide_possible_values = true)]
    pre_vote: Switch,
    /// A leader that hears from no quorum steps down (Raft thesis, 6.2)
    #[arg(long, default_value = "on", value_name = "on|off", hide_possible_values = true)]
    check_quorum: Switch,
    /// Time between heartbeats
    #[arg(long, default_value_t = 100, value_name = "MS")]
    heartbeat_ms: u64,
    /// The least election timeout; drawn up to twice as long
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    election_ms: u64,
    /// Applied entries between two snapshots
    #[arg(long, default_value_t = 1000, value_name = "N")]
    snapshot_entries: u64,
    /// Ask a majority for each read; or trust a lease, which is wrong when clocks run at different speeds; or ask nobody,
    /// and answer with what the node has, however old
    #[arg(
        long,
        default_value = "read-index",
        value_name = "read-index|lease|serializable",
        hide_possible_values = true
    )]
    reads: Reads,
    /// The share of the election timeout for which a lease lasts
    #[arg(long, default_value_t = 90, value_name = "PERCENT")]
    lease_margin: u32,
    /// Plant this bug in raft-kv (`harness list bugs`)
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Where run directories go
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(super) results: PathBuf,
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    pub(super) tun: PathBuf,
}

/// How many nodes a cluster has, unless somebody says otherwise.
const NODES: u16 = 5;

impl ClusterArgs {
    /// How many nodes, where a scenario may want so many.
    pub(super) fn nodes(&self, scenario: Option<u16>) -> u16 {
        self.nodes.or(scenario).unwrap_or(NODES)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            pre_vote: self.pre_vote == Switch::On,
            check_quorum: self.check_quorum == Switch::On,
            heartbeat_ms: self.heartbeat_ms,
            election_ms: self.election_ms,
            snapshot_entries: self.snapshot_entries,
            reads: self.reads,
            lease_margin_percent: self.lease_margin,
            bug: self.bug.clone(),
        }
    }
}
