//! The outcome of a run for machines: one JSON object, the same for every command that judges.

use checkers::Finding;
use checkers::situations::Observed;
use serde_json::{Value as Json, json};

use crate::judge::Judgement;

/// The version of the object.
const FORMAT: u32 = 1;

/// The object that `--json` prints. `run` and `seed` are null for a history that stands alone.
pub fn object(judgement: &Judgement, run: Option<&str>, seed: Option<u64>) -> Json {
    let finding = |finding: &Finding| json!({ "checker": finding.checker, "verdict": finding.verdict, "summary": finding.summary });
    let situation = |situation: &Observed| {
        let first = situation.sightings.first();
        let first =
            first.map(|first| json!({ "time": first.time, "text": first.text, "events": first.events }));
        json!({
            "name": situation.name,
            "reached": situation.reached(),
            "times": situation.times,
            "first": first,
            "missing": situation.missing(),
        })
    };
    json!({
        "format": FORMAT,
        "verdict": judgement.verdict,
        "run": run,
        "seed": seed,
        "operations": judgement.summary.operations,
        "leader_changes": judgement.summary.leader_changes,
        "terms": judgement.summary.terms,
        "faults": judgement.summary.faults,
        "situations": judgement.situations.iter().map(situation).collect::<Vec<_>>(),
        "findings": judgement.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
