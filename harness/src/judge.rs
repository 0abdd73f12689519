//! Judges a run from what it left on disk.
//!
//! A fresh run and an old one are judged by the same path: everything is read back from the run directory, so
//! `harness check` on it finds the same, byte for byte.

use std::fs;
use std::path::Path;

use checkers::history::NodeId;
use checkers::{
    Budget, CHECKERS, Checker, Evidence, Expectations, Finding, History, Malformed, Summary, Trace, Verdict,
    Warning,
};

use crate::error::{Error, Result};
use crate::run_dir::RunDir;

/// What the checkers say about a run.
pub struct Judgement {
    /// The worst verdict of all findings.
    pub verdict: Verdict,
    /// One finding a checker.
    pub findings: Vec<Finding>,
    /// What the run exercised.
    pub summary: Summary,
    /// What was odd about the files, and did not keep them from being judged.
    pub warnings: Vec<Warning>,
}

/// Judges a run directory and writes `findings.json`.
///
/// # Errors
///
/// A damaged plan, history or trace is bad usage that names file, line and field. Nothing is overwritten then.
pub fn judge_run(run: &RunDir) -> Result<Judgement> {
    let plan = run.read_plan()?;
    let (history, mut warnings) = read_history(&run.history(), "history.jsonl")?;
    let mut traces = Vec::new();
    for node in run.node_ids(&plan) {
        if let Some((trace, odd)) = read_trace(run, node)? {
            traces.push(trace);
            warnings.extend(odd);
        }
    }
    let judgement = judge(CHECKERS, &Evidence { history, traces, expectations: plan.expectations }, warnings);
    // Beside and renamed: whoever reads the findings sees old or new ones, never half of them.
    let beside = run.path().join(".findings.json.new");
    fs::write(&beside, checkers::finding::to_json(&judgement.findings))
        .and_then(|()| fs::rename(&beside, run.findings()))
        .map_err(|error| Error::io("write", &run.findings(), &error))?;
    Ok(judgement)
}

/// Judges a history that stands alone: without a plan nothing is expected of it, without traces only what clients
/// saw can be judged.
pub fn judge_history(path: &Path) -> Result<Judgement> {
    let (history, warnings) = read_history(path, &path.display().to_string())?;
    let evidence = Evidence { history, traces: Vec::new(), expectations: Expectations::default() };
    let of_clients =
        CHECKERS.iter().copied().filter(|checker| checker.name() == "linearizable").collect::<Vec<_>>();
    Ok(judge(&of_clients, &evidence, warnings))
}

fn judge(checkers: &[&dyn Checker], evidence: &Evidence, warnings: Vec<Warning>) -> Judgement {
    let findings = checkers::check(checkers, evidence, Budget::default());
    Judgement { verdict: checkers::verdict(&findings), summary: Summary::of(evidence), findings, warnings }
}

fn read_history(path: &Path, name: &str) -> Result<(History, Vec<Warning>)> {
    let text = read(path)?;
    History::parse(&text, name).map_err(|malformed| damaged(path, &malformed))
}

/// `None` for a node that never wrote a trace: it was never started.
fn read_trace(run: &RunDir, node: NodeId) -> Result<Option<(Trace, Vec<Warning>)>> {
    let path = run.trace(node);
    if !path.exists() {
        return Ok(None);
    }
    let text = read(&path)?;
    let name = format!("nodes/{node}/trace.jsonl");
    Trace::parse(&text, &name, node).map(Some).map_err(|malformed| damaged(&path, &malformed))
}

fn read(path: &Path) -> Result<String> {
    let bytes =
        fs::read(path).map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        Error::usage(format!("{} line {}: not UTF-8 text", path.display(), line + 1))
    })
}

fn damaged(path: &Path, malformed: &Malformed) -> Error {
    Error::usage(malformed.to_string())
        .help(format!("{} was left as it is; repair the line or remove what follows it", path.display()))
}
