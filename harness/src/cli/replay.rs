//! `harness replay`: a recorded run once more, or many times.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::child::Runner;
use crate::error::Result;
use crate::replay::replay;
use crate::run_dir::RunDir;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run directory, such as results/latest or results/saved/stale-read
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// How often
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    times: u32,
    /// Run the plan as it was drawn, without tying its faults to the events that they fell on
    #[arg(long)]
    as_planned: bool,
    /// Go on after a violation is certain, instead of ending each run there
    #[arg(long)]
    keep_going: bool,
    /// Where the runs go
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    tun: PathBuf,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let recorded = RunDir::open(&args.run)?;
    let runner =
        Runner { results: args.results.join("replay"), tun: args.tun.clone(), keep_going: args.keep_going };
    let replayed = replay(&recorded, &runner, args.times, args.as_planned)?;
    if args.json {
        super::print(&format!("{}\n", replayed.to_json()))?;
    } else {
        super::print(&replayed.to_text())?;
    }
    Ok(super::exit_code(replayed.verdict()))
}
