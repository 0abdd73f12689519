//! The plan of a run: everything that chance decides, drawn from the seed before anything boots.
//!
//! Drawing is pure: the same config and seed give the same plan, byte for byte. The plan fixes what is *asked*
//! of the cluster; it does not fix the interleaving, which the machine decides.
//!
//! Each purpose (operations, faults, targets, packets, nodes) has its own stream of random numbers, so that adding
//! a fault does not change the operations.

use std::collections::BTreeSet;

use checkers::history::NodeId;
use checkers::model::Object;
use checkers::{Consistency, Expectations, ExpectedFault};
use nemesis::schedule::{self, DrawError, Schedule};
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use crate::config::{Reads, RunConfig, Settings};
use crate::error::{Error, Result};
use crate::{system, workload};

/// The version of the plan's format.
pub const FORMAT: u32 = 1;

/// A run, resolved. Saved as `plan.json` in the run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this format.
    pub format: u32,
    /// The version of the harness that drew it.
    pub harness: String,
    /// Where all chance comes from.
    pub seed: u64,
    /// Name of the system.
    pub system: String,
    /// How many nodes.
    pub nodes: u16,
    /// Name of the workload.
    pub workload: String,
    /// What clients ask of their reads.
    #[serde(default)]
    pub reads: Reads,
    /// How the nodes are set.
    pub settings: Settings,
    /// How many processes.
    pub concurrency: u32,
    /// Operations a second, all processes together.
    pub rate: u32,
    /// How long clients and nemesis work.
    pub time_limit_ms: u64,
    /// After this time without an answer an operation is given up.
    pub operation_timeout_ms: u64,
    /// How long the healed cluster may take until it serves on every node.
    pub recovery_limit_ms: u64,
    /// The seeds of the streams.
    pub streams: Streams,
    /// What the nemesis will do, and when.
    pub schedule: Schedule,
    /// What the run must reach to count.
    pub expectations: Expectations,
}

/// One seed for each purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Which operations the processes ask for.
    pub operations: u64,
    /// Which faults, when and how long.
    pub faults: u64,
    /// Which nodes a symbolic target means when its step runs.
    pub targets: u64,
    /// Which packets the switch drops, delays, duplicates or corrupts.
    pub packets: u64,
    /// The election timeouts of the nodes.
    pub nodes: u64,
}

impl Streams {
    fn draw(seed: u64) -> Self {
        // A stream is a generator of its own, seeded from the run's seed and the purpose's number, so a new
        // purpose changes none of the others.
        let stream = |purpose: u64| {
            Pcg64Mcg::seed_from_u64(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64()
        };
        Self {
            operations: stream(1),
            faults: stream(2),
            targets: stream(3),
            packets: stream(4),
            nodes: stream(5),
        }
    }
}

/// Draws the plan of a run.
///
/// # Errors
///
/// Bad usage: a name that does not exist, or a time limit too short for the faults asked for.
pub fn plan(config: &RunConfig, seed: u64) -> Result<Plan> {
    config.check()?;
    let system = system::find(&config.system)?;
    system.check(config)?;
    let workload = workload::find(&config.workload)?;
    check_consistency(config)?;
    let streams = Streams::draw(seed);
    let election_ms = config.settings.election_ms;
    let schedule =
        schedule::draw(&config.faults, config.time_limit_ms, config.nodes, election_ms, streams.faults)
            .map_err(|error| {
                let usage = Error::usage(&error);
                match error {
                    DrawError::Impossible { .. } => {
                        usage.help("choose others with --faults, or raise --nodes")
                    }
                    DrawError::Unknown(_) | DrawError::TooShort { .. } => usage,
                }
            })?;
    let expectations = Expectations {
        nodes: (1..=config.nodes).map(NodeId).collect(),
        operation_kinds: workload.operation_kinds().to_vec(),
        ok_operations_min: ok_operations_min(config),
        faults: expected_faults(config),
        recovery_limit_ms: config.recovery_limit_ms,
        complete: true,
        consistency: config.consistency,
        unavailable_max_ms: config.unavailable_max_ms,
    };
    Ok(Plan {
        format: FORMAT,
        harness: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        system: config.system.clone(),
        nodes: config.nodes,
        workload: config.workload.clone(),
        reads: config.reads,
        settings: config.settings.clone(),
        concurrency: config.concurrency,
        rate: config.rate,
        time_limit_ms: config.time_limit_ms,
        operation_timeout_ms: config.operation_timeout_ms,
        recovery_limit_ms: config.recovery_limit_ms,
        streams,
        schedule,
        expectations,
    })
}

/// A promise that no checker can judge would make every run unknown.
fn check_consistency(config: &RunConfig) -> Result<()> {
    let is_aged = matches!(config.consistency, Consistency::StaleWithinMs(_));
    if is_aged && Object::of_workload(&config.workload) != Object::Register {
        return Err(Error::usage(format!(
            "--consistency stale-ms: the age of a read is only known for registers, not for {}",
            config.workload
        ))
        .help("choose --workload register, or --consistency sequential"));
    }
    Ok(())
}

/// Every kind of fault that was asked for must have happened at least once.
fn expected_faults(config: &RunConfig) -> Vec<ExpectedFault> {
    let names = config.faults.iter().map(|choice| choice.fault.clone()).collect::<BTreeSet<_>>();
    names.into_iter().map(|name| ExpectedFault { name, times: 1 }).collect()
}

/// A run that acknowledged less than a tenth of what was asked exercised little: it does not count as a pass.
fn ok_operations_min(config: &RunConfig) -> u64 {
    u64::from(config.rate) * config.time_limit_ms / 10_000
}
