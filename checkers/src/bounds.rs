//! Bounds: what a run's scenario allows, in measures. A follower that was cut off and returns must not raise the term
//! when nodes ask before they campaign; without that they may, and a run in which they did not shows nothing.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict};
use crate::measures::measure;

/// A bound on one measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The name of the measure, as in [`MEASURES`](crate::measures::MEASURES).
    pub measure: String,
    /// More than this must not happen: it breaks what the scenario relies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
    /// Less than this means that the run did not get where it was going.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// Why.
    pub because: String,
}

/// The bounds of a run.
pub struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn about(&self) -> &'static str {
        "what the scenario allows: how far the term may rise, how often the leader may change"
    }

    fn applies(&self, evidence: &Evidence) -> bool {
        !evidence.expectations.bounds.is_empty()
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if evidence.expectations.bounds.is_empty() {
            return Finding::new(self, Verdict::Unknown, "the scenario sets no bounds");
        }
        let measured = measure(evidence);
        let (mut broken, mut missed, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for bound in &evidence.expectations.bounds {
            let name = &bound.measure;
            let value = measured
                .iter()
                .find(|measured| measured.measure == *name)
                .and_then(|measured| measured.value);
            let Some(value) = value else {
                missed.push(format!("the run does not tell {name}"));
                continue;
            };
            match bound {
                Bound { at_most: Some(most), because, .. } if value > f64::from(*most) => {
                    let title = format!("{name} out of bounds");
                    let line = format!("{name} was {value}, and at most {most} is allowed: {because}");
                    broken.push(Anomaly { title, text: vec![line], events: Vec::new() });
                }
                Bound { at_least: Some(least), because, .. } if value < f64::from(*least) => {
                    missed.push(format!("{name} was {value}, and at least {least} was expected: {because}"));
                }
                Bound { .. } => kept.push(format!("{name} {value}")),
            }
        }
        let bounds = evidence.expectations.bounds.len();
        if broken.is_empty() && !missed.is_empty() {
            return Finding::new(self, Verdict::Unknown, missed.join("; ")).with_checked("bounds", bounds);
        }
        let found = broken.len();
        Finding::from_anomalies(self, broken, found, format!("within bounds: {}", kept.join(", ")))
            .with_checked("bounds", bounds)
    }
}
