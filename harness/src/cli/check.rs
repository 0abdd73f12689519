//! `harness check`: judges recorded runs again. Boots nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use checkers::Verdict;

use crate::error::{Error, Result};
use crate::judge::{Judgement, export_edn, judge_history, judge_run};
use crate::report;
use crate::run_dir::RunDir;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Run directories (results/latest) or history files: ours, Jepsen's EDN or log, Porcupine's key-value logs
    #[arg(required = true, value_name = "RUN|FILE")]
    runs: Vec<PathBuf>,
    /// Write the history, of one run or file, as Jepsen's EDN too, for Knossos and Elle
    #[arg(long, value_name = "OUT")]
    export_edn: Option<PathBuf>,
    /// Print one JSON object a run on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Draw the counterexample of the one run or file to this file; a run gets its own counterexample.svg anyway
    #[arg(long, value_name = "OUT.svg")]
    picture: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.picture.is_some() && args.runs.len() > 1 {
        return Err(Error::usage("--picture draws one run, and several were named"));
    }
    if let Some(out) = &args.export_edn {
        let [path] = args.runs.as_slice() else {
            return Err(Error::usage("--export-edn writes one history, and several were given")
                .help("name a single run or file with it"));
        };
        export_edn(&history_of(path)?, out)?;
    }
    let mut worst = Verdict::Valid;
    for path in &args.runs {
        let (judgement, shown, seed) = judge(path)?;
        let drawn = draw(&judgement, path, args.picture.as_deref())?;
        if args.json {
            super::print(&format!("{}\n", report::object(&judgement, Some(&shown), seed)))?;
        } else {
            let drawn = drawn.map_or_else(String::new, |at| format!("  {:<9}{at}\n", "picture"));
            super::print(&format!("{shown}\n{}{drawn}", report::outcome(&judgement)))?;
        }
        worst = worst.max(judgement.verdict);
    }
    Ok(super::exit_code(worst))
}

/// Writes the picture where it is wanted. Returns where it is found, if there is one.
fn draw(judgement: &Judgement, run: &Path, wanted: Option<&Path>) -> Result<Option<String>> {
    let Some(picture) = &judgement.picture else { return Ok(None) };
    if let Some(out) = wanted {
        fs::write(out, picture).map_err(|error| Error::io("write", out, &error))?;
        return Ok(Some(super::typed(out)));
    }
    if run.is_dir() { Ok(Some(super::typed(&RunDir::open(run)?.picture()))) } else { Ok(None) }
}

fn history_of(path: &Path) -> Result<PathBuf> {
    if path.is_file() { Ok(path.to_owned()) } else { Ok(RunDir::open(path)?.history()) }
}

fn judge(path: &Path) -> Result<(Judgement, String, Option<u64>)> {
    if path.is_file() {
        return Ok((judge_history(path)?, super::typed(path), None));
    }
    let run = RunDir::open(path)?;
    let seed = run.read_plan()?.seed;
    Ok((judge_run(&run)?, super::typed(run.path()), Some(seed)))
}
