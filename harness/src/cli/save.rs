//! `harness save`: keeps a failure for ever.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Result;
use crate::run_dir::RunDir;
use crate::saved;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The run directory of a failure, such as results/latest
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// What to call it, as in stale-read-after-partition
    #[arg(value_name = "NAME")]
    name: String,
    /// Where saved failures lie, in a directory called `saved`
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let place = saved::save(&RunDir::open(&args.run)?, &args.results, &args.name)?;
    let place = super::typed(&place);
    super::print(&format!("  {:<9}{place}\n  {:<9}{} check {place}\n", "saved", "judge", super::program()))?;
    Ok(ExitCode::SUCCESS)
}
