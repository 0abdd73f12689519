//! Runs a recorded run again: the same configuration, operations and faults, the faults at the events that they fell
//! on, and tells how often the same came of it.
//!
//! It is another run, not a recording: the machine interleaves as it likes. So what is told is a rate, with its
//! interval, and apart from it how often the very same kind of anomaly came back.

mod anchor;

use checkers::Verdict;

use crate::child::{Runner, say};
use crate::error::{Error, Result};
use crate::judge::read_evidence;
use crate::plan::Plan;
use crate::run_dir::RunDir;
use crate::saved::found;
use crate::shrink::{describe, invalid};
use crate::statistics::rate;

pub use anchor::anchor;

/// What came of running a recorded run again.
#[derive(Debug)]
pub struct Replayed {
    /// What was found then: checkers, and the kinds of their anomalies.
    known: Vec<(String, String)>,
    /// What was found then, in a word.
    verdict_then: Verdict,
    /// Each run, in order.
    runs: Vec<Again>,
    /// The plan that was run.
    pub plan: Plan,
}

/// One of the runs.
#[derive(Debug)]
struct Again {
    verdict: Verdict,
    /// Whether a checker that found something then found something again; of a valid run, whether it was valid again.
    is_same: bool,
    /// Whether the anomaly was of the same kind.
    is_same_kind: bool,
    run: RunDir,
}

/// Runs it `times` times. `as_planned` leaves the plan as it was, without tying it to what happened.
///
/// # Errors
///
/// The recorded run cannot be read, or a run ended without a verdict.
pub fn replay(recorded: &RunDir, runner: &Runner, times: u32, as_planned: bool) -> Result<Replayed> {
    let then = found(recorded.path())?;
    let plan = recorded.read_plan()?;
    let plan = if as_planned { plan } else { anchor(&plan, &read_evidence(recorded)?.0) };
    say(&describe(&plan));
    let known = kinds(&then);
    let checkers = invalid(&then);
    let mut runs = Vec::new();
    for nth in 1..=times {
        let ran = runner.run(&plan)?;
        let now = found(ran.run.path())?;
        let is_same = if checkers.is_empty() {
            ran.verdict == then.verdict
        } else {
            invalid(&now).iter().any(|checker| checkers.contains(checker))
        };
        let is_same_kind =
            if known.is_empty() { is_same } else { kinds(&now).iter().any(|kind| known.contains(kind)) };
        let first = now
            .findings
            .iter()
            .find(|finding| finding.verdict == ran.verdict && ran.verdict != Verdict::Valid);
        let summary =
            first.map(|finding| format!(" · {}: {}", finding.checker, finding.summary)).unwrap_or_default();
        say(&format!("{nth}/{times} · {}{summary}", ran.verdict));
        runs.push(Again { verdict: ran.verdict, is_same, is_same_kind, run: ran.run });
    }
    if runs.is_empty() {
        return Err(Error::usage("--times must be at least 1"));
    }
    Ok(Replayed { known, verdict_then: then.verdict, runs, plan })
}

/// The kinds of anomalies that were found, each with its checker.
fn kinds(found: &crate::saved::Found) -> Vec<(String, String)> {
    found.anomalies().into_iter().map(|(checker, title)| (checker.to_owned(), title.to_owned())).collect()
}

impl Replayed {
    /// The worst verdict of the runs.
    pub fn verdict(&self) -> Verdict {
        self.runs.iter().map(|again| again.verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// How many runs had the same outcome.
    pub fn hits(&self) -> usize {
        self.runs.iter().filter(|again| again.is_same).count()
    }

    /// The outcome for people.
    pub fn to_text(&self) -> String {
        let times = self.runs.len();
        let then = match &self.known[..] {
            [] => format!("the run was {}", self.verdict_then),
            [(checker, title), ..] => format!("{checker} found: {title}"),
        };
        let same_kind = self.runs.iter().filter(|again| again.is_same_kind).count();
        let told = |hits: usize| {
            let share = rate(hits, times).expect("there was at least one run");
            format!("{hits} of {times}, a rate of {:.2} ({:.2} to {:.2})", share.value, share.low, share.high)
        };
        let mut text = format!("  {:<9}{then}\n  {:<9}{}\n", "then", "again", told(self.hits()));
        if !self.known.is_empty() {
            text.push_str(&format!("  {:<9}{}\n", "same kind", format_args!(" {}", told(same_kind))));
        }
        text
    }

    /// The outcome for machines.
    pub fn to_json(&self) -> serde_json::Value {
        let share = rate(self.hits(), self.runs.len());
        let runs = self.runs.iter().map(|again| {
            serde_json::json!({ "verdict": again.verdict, "reproduced": again.is_same, "same_kind": again.is_same_kind, "run": again.run.path() })
        });
        serde_json::json!({
            "format": 1,
            "verdict": self.verdict(),
            "times": self.runs.len(),
            "reproduced": self.hits(),
            "rate": share,
            "runs": runs.collect::<Vec<_>>(),
        })
    }
}
