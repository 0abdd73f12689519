//! `harness check`: judges recorded runs again. Boots nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use checkers::Verdict;

use crate::error::Result;
use crate::judge::{Judgement, judge_history, judge_run};
use crate::report;
use crate::run_dir::RunDir;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Run directories (results/latest) or history files
    #[arg(required = true, value_name = "RUN|FILE")]
    runs: Vec<PathBuf>,
    /// Print one JSON object a run on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut worst = Verdict::Valid;
    for path in &args.runs {
        let (judgement, shown, seed) = judge(path)?;
        if args.json {
            super::print(&format!("{}\n", report::object(&judgement, Some(&shown), seed)))?;
        } else {
            super::print(&format!("{shown}\n{}", report::outcome(&judgement)))?;
        }
        worst = worst.max(judgement.verdict);
    }
    Ok(super::exit_code(worst))
}

fn judge(path: &Path) -> Result<(Judgement, String, Option<u64>)> {
    if path.is_file() {
        return Ok((judge_history(path)?, super::typed(path), None));
    }
    let run = RunDir::open(path)?;
    let seed = run.read_plan()?.seed;
    Ok((judge_run(&run)?, super::typed(run.path()), Some(seed)))
}
