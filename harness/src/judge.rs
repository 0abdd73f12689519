//! Judges a run from what it left on disk.
//!
//! A fresh run and an old one are judged by the same path: everything is read back from the run directory, so
//! `harness check` on it finds the same, byte for byte.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use checkers::history::NodeId;
use checkers::situations::{self, Observed};
use checkers::{
    Budget, CHECKERS, Checker, Evidence, Expectations, Finding, History, Malformed, Summary, Trace, Verdict,
    Warning, picture,
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
    /// The fault that came before the first violation, in words.
    pub fault: Option<String>,
    /// What it passed through; nothing is told of a history that stands alone.
    pub situations: Vec<Observed>,
    /// What was odd about the files, and did not keep them from being judged.
    pub warnings: Vec<Warning>,
    /// The counterexample as an SVG timeline, if there is one to be drawn.
    pub picture: Option<String>,
}

/// Judges a run directory and writes `findings.json`, and `counterexample.svg` if something was found.
///
/// # Errors
///
/// A damaged plan, history or trace is bad usage that names file, line and field. Nothing is overwritten then.
pub fn judge_run(run: &RunDir) -> Result<Judgement> {
    let (evidence, warnings) = read_evidence(run)?;
    let situations = situations::observe(&evidence);
    let judgement = Judgement { situations, ..judge(CHECKERS, &evidence, warnings) };
    let findings = checkers::finding::to_json(&judgement.findings, &evidence);
    replace(&run.findings(), Some(&findings))?;
    replace(&run.picture(), judgement.picture.as_deref())?;
    Ok(judgement)
}

/// Everything that a run left for the checkers, and what was odd about the files.
///
/// # Errors
///
/// As for [`judge_run`].
pub fn read_evidence(run: &RunDir) -> Result<(Evidence, Vec<Warning>)> {
    let plan = run.read_plan()?;
    let (history, mut warnings) = read_history(&run.history(), "history.jsonl")?;
    let mut traces = Vec::new();
    for node in run.node_ids(&plan) {
        if let Some((trace, odd)) = read_trace(run, node)? {
            traces.push(trace);
            warnings.extend(odd);
        }
    }
    Ok((Evidence { history, traces, expectations: plan.expectations }, warnings))
}

/// Beside and renamed: whoever reads the file sees the old or the new one, never half of it. Without a text there is no
/// file: one of an earlier judgement would contradict the present one.
fn replace(path: &Path, text: Option<&str>) -> Result<()> {
    let beside = path.with_added_extension("new");
    match text {
        Some(text) => fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
    }
    .map_err(|error| Error::io("write", path, &error))
}

/// Judges a history that stands alone, ours or one of those that [`History::parse_any`] tells apart: without a plan nothing is expected of it, without traces only what clients
/// saw can be judged.
pub fn judge_history(path: &Path) -> Result<Judgement> {
    let (history, warnings) = read_history(path, &path.display().to_string())?;
    let evidence = Evidence { history, traces: Vec::new(), expectations: Expectations::default() };
    let of_clients = CHECKERS
        .iter()
        .copied()
        .filter(|checker| matches!(checker.name(), "linearizable" | "append"))
        .collect::<Vec<_>>();
    Ok(judge(&of_clients, &evidence, warnings))
}

/// Writes the history at `from` to `to` as Jepsen's EDN, for Knossos and Elle.
///
/// # Errors
///
/// A history that cannot be read, or a place that cannot be written to.
pub fn export_edn(from: &Path, to: &Path) -> Result<()> {
    let (history, _) = read_history(from, &from.display().to_string())?;
    fs::write(to, history.to_jepsen_edn()).map_err(|error| Error::io("write", to, &error))
}

fn judge(checkers: &[&dyn Checker], evidence: &Evidence, warnings: Vec<Warning>) -> Judgement {
    let findings = checkers::check(checkers, evidence, Budget::default());
    let (verdict, picture) = (checkers::verdict(&findings), picture::draw_first(evidence, &findings));
    let fault = checkers::blame(evidence, &findings);
    let (summary, situations) = (Summary::of(evidence), Vec::new());
    Judgement { verdict, findings, summary, fault, situations, warnings, picture }
}

fn read_history(path: &Path, name: &str) -> Result<(History, Vec<Warning>)> {
    let text = read(path)?;
    History::parse_any(&text, name).map_err(|malformed| damaged(path, &malformed))
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

#[cfg(test)]
mod tests {
    use checkers::situations::harm_of;

    /// Whoever adds a fault says what it does to nodes and links, or situations are missed in silence.
    #[test]
    fn situations_know_every_fault() {
        for fault in nemesis::faults::FAULTS {
            let name = fault.name();
            assert!(harm_of(name).is_some(), "checkers::situations::harm_of does not know {name}");
        }
    }
}
