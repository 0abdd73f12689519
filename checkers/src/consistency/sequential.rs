//! Sequential consistency (Lamport 1979): operations seem to happen one at a time, those of one process in its
//! own order; what happened on other processes may show late.
//!
//! Unlike linearizability it is not local: each key may have an order of its own, and the keys together none.
//! So keys whose values are unique are first judged one by one, which is exact and linear for one register
//! ([`blocks`]) and finds most violations with a short proof; what is left is a search over all keys at once
//! ([`search`]), with a budget.

mod blocks;
mod search;

use super::words::{phrase, row};
use crate::evidence::{Consistency, Evidence};
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict, count};
use crate::history::{History, Operation};
use crate::keys::{by_key, for_each_key};
use crate::linearizable::{self, Call};
use crate::model::{Counter, List, Lock, Object, ObjectModel, Queue, Register, Set};

use blocks::Blocks;
use search::{Searched, search};

/// The checker of a system that promises no more than an order for each process.
pub struct Sequential;

impl Checker for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn about(&self) -> &'static str {
        "operations happen one at a time, those of each process in its own order"
    }

    fn applies(&self, evidence: &Evidence) -> bool {
        let operations = evidence.history.operations();
        evidence.expectations.consistency == Consistency::Sequential
            && (operations.is_empty() || operations.iter().any(|operation| operation.op.key().is_some()))
    }

    fn check(&self, evidence: &Evidence, budget: Budget) -> Finding {
        let history = &evidence.history;
        let object = Object::of(history);
        if let Some(objection) = object.objection(history) {
            return Finding::new(self, Verdict::Unknown, objection);
        }
        let judge = match object {
            Object::Register => judge_registers,
            Object::List => judge::<List>,
            Object::Set => judge::<Set>,
            Object::Counter => judge::<Counter>,
            Object::Queue => judge::<Queue>,
            Object::Lock => judge::<Lock>,
        };
        // What failed had no effect.
        let operations: Vec<&Operation> = history
            .operations()
            .iter()
            .filter(|operation| operation.op.key().is_some() && !operation.failed())
            .collect();
        if operations.iter().all(|operation| operation.reply().is_none()) {
            return Finding::new(self, Verdict::Unknown, "no operation succeeded, so nothing was shown");
        }
        let finding = match judge(history, &operations, budget) {
            Judgement::Sequential => {
                let summary = format!("an order explains all {}", count(operations.len(), "operation"));
                Finding::new(self, Verdict::Valid, summary)
            }
            Judgement::NotSequential(anomalies) => {
                let found = anomalies.len();
                Finding::from_anomalies(self, anomalies, found, "")
            }
            Judgement::Unknown { configurations } => Finding::new(
                self,
                Verdict::Unknown,
                format!(
                    "{} were not decided after {configurations} configurations; a larger budget, fewer processes \
                     or shorter histories make them decidable",
                    count(operations.len(), "operation")
                ),
            ),
        };
        finding.with_checked("operations", operations.len())
    }
}

enum Judgement {
    Sequential,
    NotSequential(Vec<Anomaly>),
    Unknown { configurations: u64 },
}

/// Registers, one by one as far as that goes. Any order of all keys holds an order of each, so a key without one
/// decides the whole.
fn judge_registers(history: &History, operations: &[&Operation], budget: Budget) -> Judgement {
    let keys = by_key(operations.iter().copied());
    let mut anomalies = Vec::new();
    let mut last = None;
    for (key, operations) in &keys {
        match blocks::judge(operations) {
            Blocks::Ordered(order) => {
                assert!(
                    search::replay::<Register>(operations, &order),
                    "the order of a register that its blocks give can be replayed"
                );
                last = Some(Judgement::Sequential);
            }
            Blocks::Impossible(argument) => anomalies.push(argument.tell(history, key, operations)),
            Blocks::NotUnique => last = None,
        }
    }
    if !anomalies.is_empty() {
        return Judgement::NotSequential(anomalies);
    }
    match last {
        Some(judgement) if keys.len() == 1 => judgement,
        _ => judge::<Register>(history, operations, budget),
    }
}

/// Whether every key is linearizable in the order of recording. Then all together are, since linearizability
/// is local, and as that order keeps the order of each process, they are sequentially consistent. Most runs are
/// decided by this: the search over all keys at once is far harder than one over each.
fn is_linearizable<M: ObjectModel>(operations: &[&Operation], budget: Budget) -> bool {
    let call = |(id, operation): (usize, &&Operation)| Call {
        id,
        op: M::op(operation),
        ret: operation.reply().cloned(),
        // Not times: at equal stamps these would leave two operations of one process unordered.
        invoked: operation.invoke_event.0 as u64,
        returned: operation.reply().and(operation.complete_event).map(|event| event.0 as u64),
    };
    let judgements = for_each_key(&by_key(operations.iter().copied()), |_, operations| {
        let calls: Vec<Call<M>> = operations.iter().enumerate().map(call).collect();
        matches!(linearizable::judge(&M::default(), &calls, budget), linearizable::Judgement::Linearizable)
    });
    judgements.into_iter().all(|is_linearizable| is_linearizable)
}

/// All keys at once: by key where real time helps, else by search.
fn judge<M: ObjectModel>(history: &History, operations: &[&Operation], budget: Budget) -> Judgement {
    if is_linearizable::<M>(operations, budget) {
        return Judgement::Sequential;
    }
    match search::<M>(operations, budget) {
        Searched::Ordered(order) => {
            assert!(
                search::replay::<M>(operations, &order),
                "the order that the search found can be replayed"
            );
            Judgement::Sequential
        }
        Searched::Impossible { configurations } => {
            let left =
                Budget { configurations: budget.configurations.saturating_sub(configurations), ..budget };
            let core = search::shrink::<M>(operations, left);
            Judgement::NotSequential(vec![no_order(history, &core)])
        }
        Searched::OutOfBudget { configurations } => Judgement::Unknown { configurations },
    }
}

/// Operations that a text lists.
const LISTED_MAX: usize = 12;

fn no_order(history: &History, core: &[&Operation]) -> Anomaly {
    let mut text = vec![format!(
        "no order that keeps each process's own explains these {}",
        count(core.len(), "operation")
    )];
    let mut rows: Vec<&&Operation> = core.iter().collect();
    rows.sort_by_key(|operation| (operation.process, operation.invoke_event));
    for operation in rows.iter().take(LISTED_MAX) {
        text.push(format!("{} on {}", row(history, operation), operation.op.key().unwrap_or_default()));
    }
    if core.len() > LISTED_MAX {
        text.push(format!("  … and {} more", core.len() - LISTED_MAX));
    }
    let events = core.iter().map(|operation| history.locate(operation.invoke_event)).collect();
    Anomaly { title: "not sequential".to_owned(), text, events }
}

impl blocks::Argument {
    fn tell(&self, history: &History, key: &str, operations: &[&Operation]) -> Anomaly {
        let mut text = vec![format!("{} on {key}", self.headline(|id| phrase(operations[id])))];
        let mut told = self.operations();
        told.sort_by_key(|&id| (operations[id].process, operations[id].invoke_event));
        told.dedup();
        text.extend(told.iter().take(LISTED_MAX / 2).map(|&id| row(history, operations[id])));
        let reasons = self.reasons(|id| phrase(operations[id]));
        if reasons.len() > LISTED_MAX / 2 {
            text.extend_from_slice(&reasons[..LISTED_MAX / 2 - 1]);
            text.push(format!("… and {} more such steps", reasons.len() - LISTED_MAX / 2));
            text.extend_from_slice(&reasons[reasons.len() - 1..]);
        } else {
            text.extend(reasons);
        }
        let mut events = Vec::new();
        for &id in &told {
            events.push(history.locate(operations[id].invoke_event));
            events.extend(operations[id].complete_event.map(|event| history.locate(event)));
        }
        events.sort_unstable();
        Anomaly { title: self.title().to_owned(), text, events }
    }
}
