//! Saved failures: what judging needs of a run, in a small directory that is kept for ever.
//!
//! A failure that was found once must be found by every later build: the directory holds plan, history, traces and what
//! was found then, and `harness check` on it says the same today. Logs, packets and data directories stay behind.

use std::fs;
use std::path::{Path, PathBuf};

use checkers::{Finding, Verdict};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::judge::judge_run;
use crate::run_dir::RunDir;

/// Where saved failures lie, under the results.
pub const DIRECTORY: &str = "saved";

/// Saves a run under a name. Returns where.
///
/// # Errors
///
/// A run that is not invalid proves nothing, and a name that is taken is not overwritten.
pub fn save(run: &RunDir, results: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if !plain || name.starts_with('.') {
        return Err(Error::usage(format!("`{name}` is no name for a directory"))
            .help("use letters, digits and hyphens, as in stale-read-after-partition"));
    }
    // Judged by this build, so that what is saved and what is found agree from the first day.
    let judgement = judge_run(run)?;
    if judgement.verdict != Verdict::Invalid {
        return Err(Error::usage(format!("the run is {}, and only failures are saved", judgement.verdict)));
    }
    let parent = results.join(DIRECTORY);
    fs::create_dir_all(&parent).map_err(|error| Error::io("create", &parent, &error))?;
    let place = parent.join(name);
    fs::create_dir(&place).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::usage(format!("{} exists already", place.display()))
            .help("choose another name, or remove it first"),
        _ => Error::io("create", &place, &error),
    })?;
    let copy = |from: PathBuf| -> Result<()> {
        let to = place.join(from.strip_prefix(run.path()).expect("these files lie in the run directory"));
        let parent = to.parent().expect("it lies in the saved directory");
        fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
        fs::copy(&from, &to).map(|_bytes| ()).map_err(|error| Error::io("copy", &from, &error))
    };
    for file in [run.plan(), run.history(), run.findings()] {
        copy(file)?;
    }
    let traces = run.node_ids(&run.read_plan()?).into_iter().map(|node| run.trace(node));
    for file in traces.chain([run.picture()]).filter(|file| file.exists()) {
        copy(file)?;
    }
    Ok(place)
}

/// Every saved failure, by name.
///
/// # Errors
///
/// The directory cannot be read.
pub fn all(results: &Path) -> Result<Vec<PathBuf>> {
    let parent = results.join(DIRECTORY);
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&parent).map_err(|error| Error::io("read", &parent, &error))?;
    let mut places = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io("read", &parent, &error))?.path();
        if path.join("plan.json").is_file() {
            places.push(path);
        }
    }
    places.sort();
    Ok(places)
}

/// What was found of a failure when it was saved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// The verdict.
    pub verdict: Verdict,
    /// One finding a checker.
    pub findings: Vec<Finding>,
}

/// Reads what was found of a failure when it was saved.
///
/// # Errors
///
/// There is no such file, or it is not what `harness` writes.
pub fn found(place: &Path) -> Result<Found> {
    let path = place.join("findings.json");
    let text = fs::read_to_string(&path)
        .map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Error::usage(format!("{}: {error}", path.display())))
}

impl Found {
    /// What must stay the same from build to build: which checkers found something, and which anomalies. How it is
    /// worded may get better, and new checkers may come.
    pub fn anomalies(&self) -> Vec<(&str, &str)> {
        let invalid = self.findings.iter().filter(|finding| finding.verdict == Verdict::Invalid);
        let titles = invalid.flat_map(|finding| {
            finding.anomalies.iter().map(|anomaly| (finding.checker.as_str(), anomaly.title.as_str()))
        });
        let mut titles = titles.collect::<Vec<_>>();
        titles.sort_unstable();
        titles
    }
}
