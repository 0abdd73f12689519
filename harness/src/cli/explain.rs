//! `harness explain`: the story of an invalid run as a page of plain text. Boots nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use checkers::account::account;

use crate::error::Result;
use crate::judge::{judge_run, read_evidence};
use crate::run_dir::RunDir;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A run directory, such as results/latest
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let run = RunDir::open(&args.run)?;
    let judgement = judge_run(&run)?;
    let (evidence, _) = read_evidence(&run)?;
    super::print(&account(&evidence, &judgement.findings))?;
    Ok(super::exit_code(judgement.verdict))
}
