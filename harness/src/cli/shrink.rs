//! `harness shrink`: the smallest plan that still fails.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::child::Runner;
use crate::error::Result;
use crate::run_dir::RunDir;
use crate::shrink::{Effort, shrink};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The run directory of a failure, such as results/latest
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// How often a candidate is run at most
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// How often the smallest plan is run in the end, for its rate
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    confirmations: u32,
    /// How long the search may take, in seconds; the same command goes on where it stopped
    #[arg(long, default_value_t = 600, value_name = "S")]
    budget: u64,
    /// Where the runs of the search and its outcome go
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    tun: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let failed = RunDir::open(&args.run)?;
    let name =
        failed.path().file_name().expect("a canonical path of a directory has a name").to_string_lossy();
    let directory = args.results.join("shrink").join(name.as_ref());
    let runner = Runner { results: directory.join("runs"), tun: args.tun.clone(), keep_going: false };
    let effort = Effort {
        tries: args.tries,
        confirmations: args.confirmations,
        budget: Duration::from_secs(args.budget),
    };
    let shrunk = shrink(&failed, &directory, &runner, effort)?;
    let mut text = shrunk.to_text();
    let saved = super::typed(&shrunk.saved);
    text.push_str(&format!("  {:<9}{} test --plan {saved}\n", "run it", super::program()));
    if let Some(run) = &shrunk.run {
        text.push_str(&format!(
            "  {:<9}{} explain {}\n",
            "explain",
            super::program(),
            super::typed(run.path())
        ));
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
