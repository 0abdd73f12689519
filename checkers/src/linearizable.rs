//! Linearizability: each operation seems to happen at one moment between its invocation and its completion.
//!
//! The property is local, so each key is judged by itself, on all cores: by [`zones`] where values are unique, else
//! by the two engines of [`search`](search()), and while a run goes on by the [`stream`]. A valid verdict rests on
//! an order that was replayed against the model, an invalid one on a small core that was searched a second time
//! by simpler means. If either contradicts the search, the checker is wrong and says so by a panic: a verdict
//! that cannot be trusted must not look like one that can.

mod call;
mod certificate;
mod dense;
mod depth_first;
mod explain;
mod future;
#[cfg(test)]
mod fuzz;
mod hash;
mod judge;
mod layer;
mod objects;
mod overwritten;
mod reductions;
mod search;
mod sets;
mod shrink;
pub mod stream;
mod zones;

pub use call::{Call, replay};
pub use certificate::{Certificate, Refused, calls_of_key, certify};
pub use judge::{Judgement, judge};
pub use reductions::{REDUCTIONS, Reduction, Reductions};
pub use search::{Engine, Outcome, Searched, search, search_by};
pub use shrink::shrink;
pub use stream::{Stream, StreamChecker, Violation};
pub use zones::{Zones, zones};

use crate::evidence::{Consistency, Evidence};
use crate::finding::{ANOMALIES_MAX, Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{History, Operation};
use crate::keys::{by_key, for_each_key};
use crate::model::{Counter, List, Lock, Object, Queue, Register, Set};

/// The checker; the workload tells which model the keys follow.
pub struct Linearizable;

impl Checker for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn about(&self) -> &'static str {
        "each key behaves like one object on which operations happen one at a time, in real-time order"
    }

    /// Not asked where the system promises less, nor of transactions, which are no operations of one key.
    fn applies(&self, evidence: &Evidence) -> bool {
        let operations = evidence.history.operations();
        evidence.expectations.consistency == Consistency::Linearizable
            && (operations.is_empty() || operations.iter().any(|operation| operation.op.key().is_some()))
    }

    fn check(&self, evidence: &Evidence, budget: Budget) -> Finding {
        let history = &evidence.history;
        let object = Object::of(history);
        if let Some(objection) = object.objection(history) {
            return Finding::new(self, Verdict::Unknown, objection);
        }
        let judge_key = match object {
            Object::Register => judge_key,
            Object::List => objects::judge_key::<List>,
            Object::Set => objects::judge_key::<Set>,
            Object::Counter => objects::judge_key::<Counter>,
            Object::Queue => objects::judge_key::<Queue>,
            Object::Lock => objects::judge_key::<Lock>,
        };
        let keys = by_key(history.operations());
        let judged = for_each_key(&keys, |key, operations| judge_key(history, key, operations, budget));

        let mut illegal = Vec::new();
        let mut undecided = Vec::new();
        for result in judged {
            match result {
                KeyResult::Linearizable => {}
                KeyResult::NotLinearizable(anomaly) => illegal.push(anomaly),
                KeyResult::Unknown(anomaly) => undecided.push(anomaly),
            }
        }
        let checked = history.operations().len();
        let finding = if checked == 0 {
            Finding::new(self, Verdict::Unknown, "the history has no operations")
        } else if history.operations().iter().all(|operation| operation.reply().is_none()) {
            // Whatever the system did, nobody was told anything that could contradict it.
            Finding::new(self, Verdict::Unknown, "no operation succeeded, so nothing was shown")
        } else if illegal.is_empty() && !undecided.is_empty() {
            let summary = format!("{} undecided: {}", count(undecided.len(), "key"), undecided[0].text[0]);
            undecided.truncate(ANOMALIES_MAX);
            Finding { anomalies: undecided, ..Finding::new(self, Verdict::Unknown, summary) }
        } else {
            let valid = format!(
                "an order explains all {} on {}",
                count(checked, "operation"),
                count(keys.len(), "key")
            );
            let found = illegal.len();
            Finding::from_anomalies(self, illegal, found, valid)
        };
        finding.with_checked("operations", checked).with_checked("keys", keys.len())
    }
}

enum KeyResult {
    Linearizable,
    NotLinearizable(Anomaly),
    Unknown(Anomaly),
}

fn judge_key(history: &History, key: &str, operations: &[&Operation], budget: Budget) -> KeyResult {
    match judge(&Register::default(), &calls(operations), budget) {
        Judgement::Linearizable => KeyResult::Linearizable,
        Judgement::NotLinearizable(core) => {
            KeyResult::NotLinearizable(explain::explain(history, key, operations, &core))
        }
        Judgement::Unknown { configurations, ordered } => {
            KeyResult::Unknown(undecided(history, key, operations, configurations, &ordered))
        }
    }
}

/// The operations as calls whose ids are their positions. Those that failed had no effect and are left out.
fn calls(operations: &[&Operation]) -> Vec<Call<Register>> {
    let call = |(id, operation): (usize, &&Operation)| {
        let ret = operation.reply().cloned();
        // An `info` is stamped when the client gave up; the operation itself may happen at any later time.
        let returned = if ret.is_some() { operation.completed_at } else { None };
        Call { id, op: operation.op.clone(), ret, invoked: operation.invoked_at, returned }
    };
    operations.iter().enumerate().filter(|(_, operation)| !operation.failed()).map(call).collect()
}

/// Says where the search was stuck and what would make the key decidable.
fn undecided(
    history: &History,
    key: &str,
    operations: &[&Operation],
    configurations: u64,
    ordered: &[usize],
) -> Anomaly {
    let mut is_ordered = vec![false; operations.len()];
    for &position in ordered {
        is_ordered[position] = true;
    }
    let completed = operations.iter().filter(|operation| operation.reply().is_some()).count();
    let open = operations.iter().filter(|op| op.reply().is_none() && !op.failed()).count();
    let stuck = operations
        .iter()
        .zip(&is_ordered)
        .filter(|(operation, ordered)| operation.reply().is_some() && !**ordered)
        .map(|(operation, _)| operation)
        .min_by_key(|operation| operation.completed_at);
    let mut text = vec![format!("key {key} was not decided after {configurations} configurations")];
    let mut events = Vec::new();
    if let Some(operation) = stuck {
        let end = operation.completed_at.unwrap_or(operation.invoked_at);
        let concurrent = operations
            .iter()
            .filter(|other| other.invoked_at <= end && other.completed_at >= Some(operation.invoked_at));
        text.push(format!(
            "the search is stuck between {} and {}, where {} are open at once",
            seconds(operation.invoked_at),
            seconds(end),
            count(concurrent.count(), "operation"),
        ));
        events.push(history.locate(operation.invoke_event));
    }
    text.push(format!("the key has {completed} completed operations and {open} that never returned"));
    text.push(
        "a larger budget, fewer clients a key, shorter histories a key or fewer time-outs make it decidable"
            .to_owned(),
    );
    Anomaly { title: "undecided".to_owned(), text, events }
}
