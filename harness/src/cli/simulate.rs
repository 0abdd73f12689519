//! `harness simulate`: many seeds of the same protocol in virtual time. Boots nothing, needs no rights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use checkers::{Finding, Verdict, picture, verdict};
use serde_json::json;

use super::cluster_args::Switch;
use crate::config::{Reads, Settings};
use crate::error::{Error, Result};
use crate::simulation::{Config, Recording, simulate, sweep};

/// Seeds that are described; more repeat the same.
const SHOWN_MAX: usize = 5;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 100, value_name = "N")]
    runs: u64,
    /// How many nodes
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: u16,
    /// Ask before campaigning (Raft thesis, 9.6)
    #[arg(long, default_value = "on", value_name = "on|off")]
    pre_vote: Switch,
    /// A leader that hears from no quorum steps down (Raft thesis, 6.2)
    #[arg(long, default_value = "on", value_name = "on|off")]
    check_quorum: Switch,
    /// Ask a majority for each read, or trust a lease
    #[arg(long, default_value = "read-index", value_name = "read-index|lease", hide_possible_values = true)]
    reads: Reads,
    /// Let leaders' clocks run far too slow, which leases do not survive
    #[arg(long)]
    bent_clocks: bool,
    /// Plant this bug (`harness list bugs`)
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Write history, traces and counterexample of the first seed that is not valid to this directory, which must not exist
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

impl Args {
    fn config(&self, seed: u64) -> Config {
        let config = Config::new(seed);
        let settings = Settings {
            pre_vote: self.pre_vote == Switch::On,
            check_quorum: self.check_quorum == Switch::On,
            reads: self.reads,
            bug: self.bug.clone(),
            ..config.settings
        };
        Config { nodes: self.nodes, bent_clocks: self.bent_clocks, settings, ..config }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if !(1..=99).contains(&args.nodes) {
        return Err(Error::usage(format!("--nodes {}: choose 1 to 99 nodes", args.nodes)));
    }
    if args.reads == Reads::Serializable {
        return Err(Error::usage("--reads serializable is not simulated; choose read-index or lease"));
    }
    args.config(args.seed).settings.check()?;
    // A mistyped bug is told once, before the threads start.
    crate::system::rules(args.bug.as_deref())?;
    // A simulated node that dies of its bug is a finding with the panic's words; a backtrace of each would bury it.
    std::panic::set_hook(Box::new(|_| ()));
    let seeds = args.seed..args.seed.saturating_add(args.runs);
    let simulated = sweep(seeds, |seed| {
        simulate(&args.config(seed)).map(|recording| (recording.judge(), recording.observe()))
    });
    let mut judged = Vec::new();
    // In how many runs each situation was reached: what so many valid seeds are worth.
    let mut situations = checkers::SITUATIONS.iter().map(|known| (known.name, 0_u64)).collect::<Vec<_>>();
    for (seed, outcome) in simulated {
        let (findings, observed) = outcome?;
        judged.push((seed, findings));
        for ((_, runs), observed) in situations.iter_mut().zip(observed) {
            *runs += u64::from(observed.reached());
        }
    }
    let guilty =
        judged.iter().filter(|(_, findings)| verdict(findings) != Verdict::Valid).collect::<Vec<_>>();
    let worst = judged.iter().map(|(_, findings)| verdict(findings)).max().unwrap_or(Verdict::Unknown);
    let by_checker = count(guilty.iter().flat_map(|(_, findings)| findings));

    if args.json {
        let checkers = by_checker
            .iter()
            .map(|((checker, verdict), runs)| json!({ "checker": checker, "verdict": verdict, "runs": runs }))
            .collect::<Vec<_>>();
        let situations = situations
            .iter()
            .map(|(name, runs)| json!({ "name": name, "reached": *runs > 0, "runs": runs }))
            .collect::<Vec<_>>();
        let seeds = guilty.iter().map(|(seed, _)| seed).collect::<Vec<_>>();
        let runs = judged.len();
        println!(
            "{}",
            json!({ "format": 1, "verdict": worst, "runs": runs, "not_valid": seeds, "checkers": checkers, "situations": situations })
        );
    } else {
        for (seed, findings) in guilty.iter().take(SHOWN_MAX) {
            for finding in findings.iter().filter(|finding| finding.verdict != Verdict::Valid) {
                println!("  seed {seed}: {} {}: {}", finding.verdict, finding.checker, finding.summary);
            }
        }
        println!("  {} runs, {} not valid", judged.len(), guilty.len());
        for ((checker, verdict), runs) in &by_checker {
            println!("  {checker}: {verdict} in {runs}");
        }
        for (name, runs) in situations.iter().filter(|(_, runs)| *runs > 0) {
            println!("  {name}: reached in {runs}");
        }
    }
    if let (Some(directory), Some((seed, _))) = (&args.write, guilty.first()) {
        write(directory, &simulate(&args.config(*seed))?)?;
    }
    Ok(super::exit_code(worst))
}

fn count<'a>(findings: impl Iterator<Item = &'a Finding>) -> BTreeMap<(&'a str, Verdict), u64> {
    let mut counts = BTreeMap::new();
    for finding in findings.filter(|finding| finding.verdict != Verdict::Valid) {
        *counts.entry((finding.checker.as_str(), finding.verdict)).or_default() += 1;
    }
    counts
}

fn write(directory: &Path, recording: &Recording) -> Result<()> {
    let store =
        |path: PathBuf, text: &str| fs::write(&path, text).map_err(|error| Error::io("write", &path, &error));
    fs::create_dir(directory).map_err(|error| Error::io("create", directory, &error))?;
    store(directory.join("history.jsonl"), &recording.history)?;
    for (node, trace) in &recording.traces {
        let node = directory.join("nodes").join(node.to_string());
        fs::create_dir_all(&node).map_err(|error| Error::io("create", &node, &error))?;
        store(node.join("trace.jsonl"), trace)?;
    }
    if let Some(picture) = picture::draw_first(&recording.evidence(), &recording.judge()) {
        store(directory.join("counterexample.svg"), &picture)?;
    }
    Ok(())
}
