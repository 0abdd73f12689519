//! The plan of a run: everything that chance decides, drawn from the seed before anything boots.
//!
//! Drawing is pure: the same config and seed give the same plan, byte for byte. The plan fixes what is *asked*
//! of the cluster; it does not fix the interleaving, which the machine decides.
//!
//! Each purpose (operations, faults, targets, packets, nodes) has its own stream of random numbers, so that adding
//! a fault does not change the operations.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use checkers::history::NodeId;
use checkers::model::Object;
use checkers::{Consistency, Expectations, ExpectedFault, SITUATIONS};
use nemesis::draw::{DrawError, Wish, draw};
use nemesis::schedule::Schedule;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use crate::config::{RunConfig, Settings, Variety};
use crate::error::{Error, Result};
use crate::{names, swarm, system, workload};

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
    /// Name of the scenario that the schedule is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
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
        Self {
            operations: stream(seed, 1),
            faults: stream(seed, 2),
            targets: stream(seed, 3),
            packets: stream(seed, 4),
            nodes: stream(seed, 5),
        }
    }
}

impl Plan {
    /// Reads a plan that was saved, or written by hand.
    ///
    /// # Errors
    ///
    /// Bad usage that names the file, and the line and field where it is no plan.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
        let plan: Self = serde_json::from_str(&text)
            .map_err(|error| Error::usage(format!("{}: not a plan: {error}", path.display())))?;
        if plan.format != FORMAT {
            return Err(Error::usage(format!(
                "{}: format {} is not known, this harness reads format {FORMAT}",
                path.display(),
                plan.format,
            )));
        }
        Ok(plan)
    }

    /// Saves the plan.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a plan has only string keys") + "\n";
        fs::write(path, text).map_err(|error| Error::io("write", path, &error))
    }
}

/// The purpose of the stream that settings are drawn from. It is used up before the run, so it is not in the plan.
const SETTINGS: u64 = 6;

/// A stream is a generator of its own, seeded from the run's seed and the purpose's number, so a new purpose changes none
/// of the others.
fn stream(seed: u64, purpose: u64) -> u64 {
    Pcg64Mcg::seed_from_u64(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64()
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
    let drawn;
    let config = match config.variety {
        Variety::Every | Variety::Mix => config,
        Variety::Swarm => {
            drawn = swarm::draw(config, stream(seed, SETTINGS));
            &drawn
        }
    };
    let schedule = match &config.scenario {
        Some(scenario) => scenario.schedule(),
        None => random(config, streams.faults)?,
    };
    let expectations = Expectations {
        nodes: (1..=config.nodes).map(NodeId).collect(),
        operation_kinds: workload.operation_kinds().to_vec(),
        ok_operations_min: ok_operations_min(config),
        faults: expected_faults(&schedule),
        situations: aims(config)?,
        recovery_limit_ms: config.recovery_limit_ms,
        complete: true,
        consistency: config.consistency,
        unavailable_max_ms: config.unavailable_max_ms,
        bounds: config
            .scenario
            .as_ref()
            .map(|scenario| scenario.bounds(&config.settings))
            .unwrap_or_default(),
    };
    Ok(Plan {
        format: FORMAT,
        harness: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        system: config.system.clone(),
        nodes: config.nodes,
        workload: config.workload.clone(),
        scenario: config.scenario.as_ref().map(|scenario| scenario.name.clone()),
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

fn random(config: &RunConfig, seed: u64) -> Result<Schedule> {
    let wish = Wish {
        faults: &config.faults,
        mix: config.variety != Variety::Every,
        time_limit_ms: config.time_limit_ms,
        nodes: config.nodes,
        election_ms: config.settings.election_ms,
        overlap: config.overlap,
        beyond_quorum: config.beyond_quorum,
    };
    draw(&wish, seed).map_err(|error| {
        let usage = Error::usage(&error);
        match error {
            DrawError::Impossible { .. } => usage.help("choose others with --faults, or raise --nodes"),
            DrawError::Unknown(_) | DrawError::TooShort { .. } => usage,
        }
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

/// Every kind of fault that is in the schedule must have happened at least once.
fn expected_faults(schedule: &Schedule) -> Vec<ExpectedFault> {
    let names = schedule.steps.iter().map(|step| step.fault.clone()).collect::<BTreeSet<_>>();
    names.into_iter().map(|name| ExpectedFault { name, times: 1 }).collect()
}

/// The situations that were asked for, each of which must exist.
fn aims(config: &RunConfig) -> Result<Vec<String>> {
    let known = |aim: &String| {
        names::find("situation", aim, SITUATIONS.iter().copied(), |situation| situation.name)
            .map(|situation| situation.name.to_owned())
    };
    config.aims.iter().map(known).collect()
}

/// A run that acknowledged less than a tenth of what was asked exercised little: it does not count as a pass.
fn ok_operations_min(config: &RunConfig) -> u64 {
    u64::from(config.rate) * config.time_limit_ms / 10_000
}
