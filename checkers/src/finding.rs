//! What a checker says: a verdict, one line of summary, and the events that cannot all be true.
//!
//! The same evidence and the same budget give the same findings, byte for byte. So nothing here holds a
//! clock, and nothing is kept in an order that changes from run to run.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::counterexample::Counterexample;
pub use crate::event_ref::EventRef;
use crate::evidence::Evidence;

/// The version of `findings.json`.
pub const FORMAT: u32 = 1;

/// What was found. The worst of several counts, so merging is `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The property holds for this run.
    Valid,
    /// It could not be decided; the summary says why.
    Unknown,
    /// It does not hold; the anomalies prove it.
    Invalid,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Valid => "valid",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "invalid",
        })
    }
}

/// The result of one checker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The name of the checker.
    pub checker: String,
    /// What it found.
    pub verdict: Verdict,
    /// One line that a reader understands without the rest.
    pub summary: String,
    /// Why, if it is not valid.
    pub anomalies: Vec<Anomaly>,
    /// How much was looked at, by what was counted: `operations`, `keys`, `leaders`, ….
    pub checked: BTreeMap<String, u64>,
}

/// Named events that cannot all be true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What kind it is, in a few words.
    pub title: String,
    /// The argument, line by line.
    pub text: Vec<String>,
    /// The events that it rests on.
    pub events: Vec<EventRef>,
}

/// How much work a checker may do before it answers [`Verdict::Unknown`]. Counted in work, never in wall
/// time, so that a slower machine finds the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Configurations (a state and the set of operations already ordered) tried for one key.
    pub configurations: u64,
    /// Bytes of memory for the configurations of one key.
    pub bytes: u64,
}

impl Default for Budget {
    /// A few seconds and a quarter of a gibibyte a key; histories of a run need a thousandth of it.
    fn default() -> Self {
        Budget { configurations: 4_000_000, bytes: 256 << 20 }
    }
}

/// A judge of one property.
pub trait Checker: Sync {
    /// Its name, in kebab case.
    fn name(&self) -> &'static str;
    /// What it checks, in one line.
    fn about(&self) -> &'static str;
    /// Whether the run has anything that it judges. One that does not apply is not heard: it has no finding.
    fn applies(&self, evidence: &Evidence) -> bool {
        let _ = evidence;
        true
    }
    /// Judges a run.
    fn check(&self, evidence: &Evidence, budget: Budget) -> Finding;
}

/// Judges a run with those of the given checkers that apply, in their order.
pub fn check(checkers: &[&dyn Checker], evidence: &Evidence, budget: Budget) -> Vec<Finding> {
    let applying = checkers.iter().filter(|checker| checker.applies(evidence));
    applying.map(|checker| checker.check(evidence, budget)).collect()
}

/// The worst verdict of several findings. No finding at all decides nothing.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
}

/// The text of `findings.json`: the findings, and beside each anomaly its core.
pub fn to_json(findings: &[Finding], evidence: &Evidence) -> String {
    #[derive(Serialize)]
    struct File<'a> {
        format: u32,
        verdict: Verdict,
        findings: Vec<Shown<'a>>,
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        checker: &'a str,
        verdict: Verdict,
        summary: &'a str,
        anomalies: Vec<Proven<'a>>,
        checked: &'a BTreeMap<String, u64>,
    }
    #[derive(Serialize)]
    struct Proven<'a> {
        #[serde(flatten)]
        anomaly: &'a Anomaly,
        core: Counterexample,
    }
    let mut shown = Vec::new();
    for Finding { checker, verdict, summary, anomalies, checked } in findings {
        let proven = |anomaly| Proven { anomaly, core: Counterexample::of(evidence, anomaly) };
        let anomalies = anomalies.iter().map(proven).collect();
        shown.push(Shown { checker, verdict: *verdict, summary, anomalies, checked });
    }
    let file = File { format: FORMAT, verdict: verdict(findings), findings: shown };
    let mut text = serde_json::to_string_pretty(&file).expect("findings have string keys only");
    text.push('\n');
    text
}

impl Finding {
    /// A finding without anomalies.
    pub(crate) fn new(checker: &dyn Checker, verdict: Verdict, summary: impl Into<String>) -> Finding {
        Finding {
            checker: checker.name().to_owned(),
            verdict,
            summary: summary.into(),
            anomalies: Vec::new(),
            checked: BTreeMap::new(),
        }
    }

    /// Invalid for the first of the anomalies, or valid without any. `found` counts those that are not in the
    /// list, too.
    pub(crate) fn from_anomalies(
        checker: &dyn Checker,
        mut anomalies: Vec<Anomaly>,
        found: usize,
        valid: impl Into<String>,
    ) -> Finding {
        let Some(first) = anomalies.first() else {
            return Finding::new(checker, Verdict::Valid, valid);
        };
        let mut summary = match first.text.first() {
            Some(line) => format!("{}: {line}", first.title),
            None => first.title.clone(),
        };
        if found > 1 {
            summary.push_str(&format!(" (and {} more)", found - 1));
        }
        anomalies.truncate(ANOMALIES_MAX);
        Finding { anomalies, ..Finding::new(checker, Verdict::Invalid, summary) }
    }

    /// Adds how much of something was looked at.
    pub(crate) fn with_checked(mut self, what: &str, count: usize) -> Finding {
        self.checked.insert(what.to_owned(), count as u64);
        self
    }
}

/// The most anomalies that a finding lists; a broken cluster repeats itself thousands of times.
pub(crate) const ANOMALIES_MAX: usize = 10;

/// A time of the history as a reader sees it.
pub(crate) fn seconds(time: crate::history::Time) -> String {
    format!("{}.{:03} s", time / 1_000_000_000, time / 1_000_000 % 1_000)
}

/// A number and its noun: `1 leader`, `2 leaders`, `3 entries`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}
