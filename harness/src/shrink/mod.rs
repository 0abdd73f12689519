//! Finds the smallest plan that still fails: delta debugging over faults, time, nodes and clients, with runs that do
//! not fail every time.
//!
//! A candidate is run up to `tries` times and taken as soon as it has failed in the same way often enough, which is
//! half as often as the plan it comes from; it is dropped as soon as it no longer can. Every outcome is written to
//! `shrink.json` at once, so that a search that ran out of budget or was interrupted goes on where it stopped. The
//! last plan is then run anew, and its rate told from those runs alone: the ones that chose it are biased.

mod edit;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checkers::history::{Event, FaultPhase, Phase};
use checkers::{Counterexample, Verdict};
use serde::{Deserialize, Serialize};

use self::edit::{Edit, PASSES};
use crate::child::{Ran, Runner, say};
use crate::error::{Error, Result};
use crate::judge::read_evidence;
use crate::plan::Plan;
use crate::run_dir::RunDir;
use crate::saved::{Found, found};
use crate::statistics::rate;

/// The version of `shrink.json`.
const FORMAT: u32 = 1;

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often a candidate is run at most.
    pub tries: u32,
    /// How often the smallest plan is run in the end, for its rate.
    pub confirmations: u32,
    /// How long the search may take, without the confirmation.
    pub budget: Duration,
}

/// What a search has learned. Saved after every candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    format: u32,
    /// The checkers that the failure is known by; one of them must find it again.
    checkers: Vec<String>,
    /// The smallest plan that failed so far.
    best: Plan,
    /// How often it failed when it was tried.
    best_hits: u32,
    best_tries: u32,
    /// What was tried, in order.
    log: Vec<Tried>,
    /// The candidates that did not fail often enough, by the text of their plans.
    refused: BTreeMap<String, u32>,
}

/// A candidate and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    about: String,
    hits: u32,
    tries: u32,
    taken: bool,
}

/// The smallest plan found.
#[derive(Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Where it is saved.
    pub saved: PathBuf,
    /// A run of it that failed, if the confirmation had one.
    pub run: Option<RunDir>,
    /// How often it failed in the confirmation, of how many runs.
    pub hits: u32,
    /// How many runs that were.
    pub tries: u32,
    /// The checkers that the failure is known by.
    pub checkers: Vec<String>,
    /// Whether nothing more could be taken out; otherwise the budget ended first.
    pub is_minimal: bool,
    /// What was tried, in words.
    pub log: Vec<String>,
}

/// Shrinks the plan of a failed run. `directory` keeps the search; one that was begun there goes on.
///
/// # Errors
///
/// The run is not a failure, its plan does not fail again, or a run ended without a verdict.
pub fn shrink(failed: &RunDir, directory: &Path, runner: &Runner, effort: Effort) -> Result<Shrunk> {
    fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, &error))?;
    let file = directory.join("shrink.json");
    let mut search = match Search::read(&file)? {
        Some(search) => {
            say(&format!("going on after {} candidates", search.log.len()));
            search
        }
        None => Search::begin(failed, runner, effort)?,
    };
    search.write(&file)?;
    let deadline = Instant::now() + effort.budget;
    let is_minimal = search.run(&file, runner, effort, deadline)?;

    say(&format!("running the smallest plan {} times for its rate", effort.confirmations));
    let outcome = repeat(&search.best, &search.checkers, runner, effort.confirmations, |_, _| true)?;
    let saved = directory.join("plan.json");
    search.best.write(&saved)?;
    Ok(Shrunk {
        plan: search.best,
        saved,
        run: outcome.failed,
        hits: outcome.hits,
        tries: outcome.tries,
        checkers: search.checkers,
        is_minimal,
        log: search.log.iter().map(Tried::told).collect(),
    })
}

impl Search {
    fn read(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", file, &error)),
        };
        let search: Self = serde_json::from_str(&text).map_err(|error| {
            Error::usage(format!("{}: {error}", file.display())).help("remove the file to begin anew")
        })?;
        if search.format != FORMAT {
            return Err(Error::usage(format!("{}: format {} is not known", file.display(), search.format))
                .help("remove the file to begin anew"));
        }
        Ok(Some(search))
    }

    /// Beside and renamed, so that an interruption leaves the old state or the new one.
    fn write(&self, file: &Path) -> Result<()> {
        let beside = file.with_added_extension("new");
        let text = serde_json::to_string_pretty(self).expect("a search has only string keys") + "\n";
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| Error::io("write", file, &error))
    }

    /// Shows that the plan of the failed run fails again: what cannot be repeated cannot be shrunk.
    fn begin(failed: &RunDir, runner: &Runner, effort: Effort) -> Result<Self> {
        let known = invalid(&found(failed.path())?);
        if known.is_empty() {
            return Err(Error::usage(format!("{} is not invalid", failed.path().display()))
                .help("only a failure can be shrunk; `harness check` shows what was found"));
        }
        let best = up_to_failure(failed)?;
        say(&format!("does it fail again? {} by {}", describe(&best), known.join(", ")));
        let tries = effort.tries.max(4);
        let outcome = repeat(&best, &known, runner, tries, |_, _| true)?;
        say(&format!("  {} of {tries}", outcome.hits));
        if outcome.hits == 0 {
            return Err(Error::usage(format!("the plan did not fail again in {tries} runs")).help(
                "`harness replay --times 20` tells how rare the failure is; --tries tries more often",
            ));
        }
        Ok(Self {
            format: FORMAT,
            checkers: known,
            best,
            best_hits: outcome.hits,
            best_tries: outcome.tries,
            log: Vec::new(),
            refused: BTreeMap::new(),
        })
    }

    /// Tries edits until none is taken any more. Returns whether that was so, and not the end of the budget.
    fn run(&mut self, file: &Path, runner: &Runner, effort: Effort, deadline: Instant) -> Result<bool> {
        loop {
            let mut is_smaller = false;
            for pass in PASSES {
                // After a success the same pass goes on with what is left.
                while let Some(taken) =
                    self.first_that_fails((pass.edits)(&self.best), file, runner, effort, deadline)?
                {
                    say(&format!("  taken: {taken}; left: {}", describe(&self.best)));
                    is_smaller = true;
                }
                if Instant::now() >= deadline {
                    say(&format!("the budget ended while looking at {}", pass.name));
                    return Ok(false);
                }
            }
            if !is_smaller {
                return Ok(true);
            }
        }
    }

    fn first_that_fails(
        &mut self,
        edits: Vec<Edit>,
        file: &Path,
        runner: &Runner,
        effort: Effort,
        deadline: Instant,
    ) -> Result<Option<String>> {
        for edit in edits {
            let text = serde_json::to_string(&edit.plan).expect("a plan has only string keys");
            if self.refused.contains_key(&text) {
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // Half as often as the plan it comes from, and once at least.
            let needed = (self.best_hits * effort.tries).div_ceil(2 * self.best_tries).clamp(1, effort.tries);
            let goes_on = |hits: u32, left: u32| hits < needed && hits + left >= needed;
            let outcome = repeat(&edit.plan, &self.checkers, runner, effort.tries, goes_on)?;
            let is_taken = outcome.hits >= needed;
            let tried = Tried {
                about: edit.about.clone(),
                hits: outcome.hits,
                tries: outcome.tries,
                taken: is_taken,
            };
            say(&format!("  {}", tried.told()));
            self.log.push(tried);
            if is_taken {
                (self.best, self.best_hits, self.best_tries) = (edit.plan, outcome.hits, outcome.tries);
                self.write(file)?;
                return Ok(Some(edit.about));
            }
            self.refused.insert(text, outcome.tries);
            self.write(file)?;
        }
        Ok(None)
    }
}

/// The plan of a failed run without what came after the failure.
fn up_to_failure(failed: &RunDir) -> Result<Plan> {
    let plan = failed.read_plan()?;
    let (evidence, _) = read_evidence(failed)?;
    let findings = found(failed.path())?.findings;
    let invalid = findings.iter().filter(|finding| finding.verdict == Verdict::Invalid);
    let Some(anomaly) = invalid.flat_map(|finding| &finding.anomalies).next() else { return Ok(plan) };
    let core = Counterexample::of(&evidence, anomaly);
    let traced = core.trace.iter().map(|event| event.time_ns);
    let Some(at) = core.operations.iter().filter_map(|known| known.completed_ns).chain(traced).max() else {
        return Ok(plan);
    };
    let drive = evidence.history.phase_start(Phase::Drive).unwrap_or(0);
    let begun = evidence.history.events().iter().filter(|event| {
        matches!(event, Event::Fault { phase: FaultPhase::Inject, .. }) && event.time() <= at
    });
    // A step that is being injected is recorded only once its evidence has been taken.
    Ok(edit::up_to(&plan, begun.count() + 1, at.saturating_sub(drive) / 1_000_000))
}

impl Tried {
    fn told(&self) -> String {
        let verdict = if self.taken { "still fails" } else { "fails too rarely" };
        format!("{}: {verdict}, {} of {}", self.about, self.hits, self.tries)
    }
}

/// What came of running one plan several times.
struct Outcome {
    hits: u32,
    tries: u32,
    failed: Option<RunDir>,
}

/// Runs a plan up to `tries` times, as long as `goes_on` (hits so far, runs left) says so. Directories of runs that
/// did not fail, and of all but the last that did, are removed: a search would fill the disk.
fn repeat(
    plan: &Plan,
    checkers: &[String],
    runner: &Runner,
    tries: u32,
    goes_on: impl Fn(u32, u32) -> bool,
) -> Result<Outcome> {
    let mut outcome = Outcome { hits: 0, tries: 0, failed: None };
    while outcome.tries < tries && goes_on(outcome.hits, tries - outcome.tries) {
        let ran = runner.run(plan)?;
        outcome.tries += 1;
        let gone = if fails(&ran, checkers) {
            outcome.hits += 1;
            outcome.failed.replace(ran.run)
        } else {
            Some(ran.run)
        };
        if let Some(gone) = gone {
            fs::remove_dir_all(gone.path()).map_err(|error| Error::io("remove", gone.path(), &error))?;
        }
    }
    Ok(outcome)
}

/// Whether a run failed by one of these checkers.
pub fn fails(ran: &Ran, checkers: &[String]) -> bool {
    let invalid = ran.found.iter().filter(|finding| finding.verdict == Verdict::Invalid);
    invalid.into_iter().any(|finding| checkers.contains(&finding.checker))
}

/// The checkers that found something.
pub fn invalid(found: &Found) -> Vec<String> {
    let invalid = found.findings.iter().filter(|finding| finding.verdict == Verdict::Invalid);
    invalid.map(|finding| finding.checker.clone()).collect()
}

/// A plan in a line that can be read aloud.
pub fn describe(plan: &Plan) -> String {
    let steps = plan.schedule.steps.iter().map(|step| {
        let knobs = if step.knobs.is_empty() { String::new() } else { format!(" ({})", step.knobs) };
        format!("{} of {}{knobs} at {} ms for {} ms", step.fault, step.target, step.at_ms, step.duration_ms)
    });
    let steps = steps.collect::<Vec<_>>();
    let steps = if steps.is_empty() { "no faults".to_owned() } else { steps.join(", then ") };
    format!(
        "{} nodes, {} clients, {} s: {steps}",
        plan.nodes,
        plan.concurrency,
        plan.time_limit_ms.div_ceil(1000)
    )
}

impl Shrunk {
    /// The outcome for people.
    pub fn to_text(&self) -> String {
        let mut text = format!("  {:<9}{}\n", "smallest", describe(&self.plan));
        let share = rate(self.hits as usize, self.tries as usize);
        let interval = share.map_or_else(String::new, |share| {
            format!(", a rate of {:.2} ({:.2} to {:.2})", share.value, share.low, share.high)
        });
        text.push_str(&format!(
            "  {:<9}{} of {} runs, by {}{interval}\n",
            "fails",
            self.hits,
            self.tries,
            self.checkers.join(", ")
        ));
        let end = if self.is_minimal {
            "nothing more can go"
        } else {
            "the budget ended; the same command goes on"
        };
        text.push_str(&format!("  {:<9}{} candidates tried; {end}\n", "search", self.log.len()));
        text
    }
}
