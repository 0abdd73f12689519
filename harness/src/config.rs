//! What was asked of a run: the command line, checked, before anything is drawn from the seed.

use checkers::Consistency;
use nemesis::faults::selection::Choice;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scenario::Scenario;

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
    /// How leaders serve reads.
    #[serde(default)]
    pub reads: Reads,
    /// The share of the election timeout for which a lease lasts; means nothing without leases.
    #[serde(default = "usual_lease_margin")]
    pub lease_margin_percent: u32,
    /// The planted bug, if any.
    pub bug: Option<String>,
}

/// How reads are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The leader asks a majority for each read whether it still leads (Raft thesis, §6.4).
    #[default]
    #[value(alias = "linearizable")]
    ReadIndex,
    /// The leader trusts that no other comes up for most of an election timeout, by its own clock (§6.4.1).
    Lease,
    /// Clients ask for what the node has, however old that is. Updates are linearizable all the same.
    #[value(alias = "local")]
    Serializable,
}

fn usual_lease_margin() -> u32 {
    90
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pre_vote: true,
            check_quorum: true,
            heartbeat_ms: 100,
            election_ms: 1000,
            snapshot_entries: 1000,
            reads: Reads::default(),
            lease_margin_percent: usual_lease_margin(),
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
        if self.heartbeat_ms > TIMEOUT_MAX_MS || self.election_ms > TIMEOUT_MAX_MS {
            return Err(Error::usage(format!(
                "--heartbeat-ms and --election-ms must be at most {TIMEOUT_MAX_MS}"
            )));
        }
        if self.election_ms < 3 * self.heartbeat_ms {
            return Err(Error::usage(format!(
                "--election-ms {} is too short for --heartbeat-ms {}",
                self.election_ms, self.heartbeat_ms
            ))
            .help("an election timeout of ten heartbeats is usual; it must be at least three"));
        }
        if self.reads == Reads::Lease && !self.check_quorum {
            return Err(Error::usage("--reads lease needs --check-quorum on")
                .help("a lease rests on nodes that do not vote while they hear a leader"));
        }
        if !(1..=100).contains(&self.lease_margin_percent) {
            return Err(Error::usage("--lease-margin must be 1 to 100 percent"));
        }
        if self.snapshot_entries == 0 {
            return Err(Error::usage("--snapshot-entries must be at least 1"));
        }
        Ok(())
    }
}

/// Reads `linearizable`, `sequential` or `stale-ms=N`.
///
/// # Errors
///
/// Says what there is.
pub fn parse_consistency(text: &str) -> std::result::Result<Consistency, String> {
    match text.split_once('=') {
        None if text == "linearizable" => Ok(Consistency::Linearizable),
        None if text == "sequential" => Ok(Consistency::Sequential),
        Some(("stale-ms", bound)) => bound
            .parse()
            .map(Consistency::StaleWithinMs)
            .map_err(|_| format!("`{bound}` is not a whole number of milliseconds")),
        None | Some(_) => Err("there are linearizable, sequential and stale-ms=N".to_owned()),
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
    /// Which faults, each with what was asked for of it.
    pub faults: Vec<Choice>,
    /// How much of what was asked for every run holds.
    pub variety: Variety,
    /// How many faults may be in force at once.
    pub overlap: usize,
    /// Whether faults that overlap may hurt more nodes than a quorum can do without.
    pub beyond_quorum: bool,
    /// The situations that the run aims at.
    pub aims: Vec<String>,
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
    /// The longest time for which a node may leave a kind of operation unserved while a majority is up and connected.
    pub unavailable_max_ms: Option<u64>,
    /// The scenario whose faults are injected, in place of random ones.
    pub scenario: Option<Scenario>,
    /// What the system promises, and is judged by.
    pub consistency: Consistency,
    /// How the nodes are set.
    pub settings: Settings,
}

/// How much of what was asked for every run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variety {
    /// Every fault, at least once.
    Every,
    /// Some of the faults, by the seed.
    Mix,
    /// Some of the faults, and other settings of cluster and clients than were asked for, by the seed.
    Swarm,
}

/// More faults at once than this nobody can tell apart.
const OVERLAP_MAX: u64 = 10;
/// More nodes than this do not fit the addresses of the sandbox, nor the machine.
const NODES_MAX: u16 = 99;
/// More processes than this do not fit the ports of the harness's address.
const PROCESSES_MAX: u32 = 10_000;
/// More operations a second than this no cluster answers.
const RATE_MAX: u32 = 1_000_000;
/// A day. A longer run is many runs.
const PHASE_MAX_S: u64 = 86_400;
/// Ten minutes. A longer wait for an answer or a leader is a mistyped one.
const TIMEOUT_MAX_MS: u64 = 600_000;

impl RunConfig {
    /// A cluster to which nothing is done: no faults, and next to no clients.
    pub fn idle(system: &str, nodes: u16, settings: Settings) -> Self {
        Self {
            system: system.to_owned(),
            nodes,
            workload: "register".to_owned(),
            faults: Vec::new(),
            variety: Variety::Every,
            overlap: 1,
            beyond_quorum: false,
            aims: Vec::new(),
            time_limit_ms: 1,
            rate: 1,
            concurrency: 1,
            operation_timeout_ms: 2000,
            recovery_limit_ms: 1,
            unavailable_max_ms: None,
            scenario: None,
            consistency: Consistency::default(),
            settings,
        }
    }

    /// Whether the run can be planned.
    pub fn check(&self) -> Result<()> {
        self.settings.check()?;
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return Err(Error::usage(format!("--nodes {}: choose 1 to {NODES_MAX} nodes", self.nodes)));
        }
        let within = |option: &str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::usage(format!("{option} must be 1 to {max}")))
        };
        within("--overlap", self.overlap as u64, OVERLAP_MAX)?;
        within("--concurrency", self.concurrency.into(), PROCESSES_MAX.into())?;
        within("--rate", self.rate.into(), RATE_MAX.into())?;
        within("--operation-timeout-ms", self.operation_timeout_ms, TIMEOUT_MAX_MS)?;
        within("--time-limit", self.time_limit_ms.div_ceil(1000), PHASE_MAX_S)?;
        within("--recovery-limit", self.recovery_limit_ms.div_ceil(1000), PHASE_MAX_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> RunConfig {
        RunConfig {
            system: "raft-kv".to_owned(),
            nodes: 5,
            workload: "register".to_owned(),
            faults: Vec::new(),
            variety: Variety::Every,
            overlap: 2,
            beyond_quorum: false,
            aims: Vec::new(),
            time_limit_ms: 30_000,
            rate: 300,
            concurrency: 10,
            operation_timeout_ms: 2000,
            recovery_limit_ms: 20_000,
            unavailable_max_ms: None,
            scenario: None,
            consistency: Consistency::default(),
            settings: Settings::default(),
        }
    }

    #[test]
    fn a_consistency_is_read_by_its_name() {
        assert_eq!(parse_consistency("sequential"), Ok(Consistency::Sequential));
        assert_eq!(parse_consistency("stale-ms=250"), Ok(Consistency::StaleWithinMs(250)));
        assert!(parse_consistency("stale-ms=fast").expect_err("no number").contains("fast"));
        for unknown in ["strict", "stale-ms", "sequential=1"] {
            assert!(parse_consistency(unknown).expect_err("no such").contains("stale-ms=N"));
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_the_name_of_their_option() {
        assert!(usual().check().is_ok());
        let refused = |config: RunConfig| config.check().expect_err("out of range").message;
        let max = u64::MAX;
        let limit = refused(RunConfig { time_limit_ms: max, ..usual() });
        assert_eq!(limit, "--time-limit must be 1 to 86400");
        assert!(refused(RunConfig { rate: 0, ..usual() }).starts_with("--rate"));
        assert!(refused(RunConfig { concurrency: u32::MAX, ..usual() }).starts_with("--concurrency"));
        assert!(refused(RunConfig { recovery_limit_ms: max, ..usual() }).starts_with("--recovery-limit"));
        let timeout = RunConfig { operation_timeout_ms: max, ..usual() };
        assert!(refused(timeout).starts_with("--operation-timeout-ms"));
        let settings = Settings { heartbeat_ms: max, ..Settings::default() };
        assert!(refused(RunConfig { settings, ..usual() }).starts_with("--heartbeat-ms"));
        let settings = Settings { reads: Reads::Lease, check_quorum: false, ..Settings::default() };
        assert!(refused(RunConfig { settings, ..usual() }).starts_with("--reads lease"));
    }
}
