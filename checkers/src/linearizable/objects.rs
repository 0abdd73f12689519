//! Keys that are no registers: lists, sets, counters, queues and locks. They are judged by the same searches;
//! their counterexamples show how far an order gets and why it ends there.

use super::call::Call;
use super::judge::{Judgement, judge};
use super::reductions::Reductions;
use super::search::{Outcome, search};
use super::{KeyResult, undecided};
use crate::finding::{Anomaly, Budget, count, seconds};
use crate::history::{History, Operation, Reply, elements};
use crate::model::{Object, ObjectModel};

/// The most operations that a text lists; with its reasons it stays within 15 lines.
const LISTED_MAX: usize = 8;

/// Judges the operations of one key by the model of its kind.
pub(super) fn judge_key<M: ObjectModel>(
    history: &History,
    key: &str,
    operations: &[&Operation],
    budget: Budget,
) -> KeyResult {
    match judge(&M::default(), &calls(operations), budget) {
        Judgement::Linearizable => KeyResult::Linearizable,
        Judgement::NotLinearizable(core) => {
            KeyResult::NotLinearizable(explain::<M>(history, key, operations, &core))
        }
        Judgement::Unknown { configurations, ordered } => {
            KeyResult::Unknown(undecided(history, key, operations, configurations, &ordered))
        }
    }
}

/// The operations as calls whose ids are their positions. Those that failed had no effect and are left out.
fn calls<M: ObjectModel>(operations: &[&Operation]) -> Vec<Call<M>> {
    let call = |(id, operation): (usize, &&Operation)| {
        let ret = operation.reply().cloned();
        // An `info` is stamped when the client gave up; the operation itself may happen at any later time.
        let returned = if ret.is_some() { operation.completed_at } else { None };
        Call { id, op: M::op(operation), ret, invoked: operation.invoked_at, returned }
    };
    operations.iter().enumerate().filter(|(_, operation)| !operation.failed()).map(call).collect()
}

fn explain<M: ObjectModel>(
    history: &History,
    key: &str,
    operations: &[&Operation],
    core: &[Call<M>],
) -> Anomaly {
    let searched = search(&M::default(), core, Budget::default(), Reductions::NONE);
    let longest = match searched.outcome {
        Outcome::NotLinearizable(order) | Outcome::OutOfBudget(order) | Outcome::Linearizable(order) => order,
    };
    let mut state = M::default();
    for &position in &longest {
        let call = &core[position];
        match &call.ret {
            Some(_) => drop(state.invoke(&call.op)),
            None => state.apply_unknown(&call.op),
        }
    }
    let object = Object::of(history).name();
    let mut text =
        vec![format!("no order explains these {} on {object} {key}", count(core.len(), "operation"))];
    // A long order is understood from its end.
    let left_out = longest.len().saturating_sub(LISTED_MAX);
    if left_out > 0 {
        text.push(format!("  the longest order that fits begins with {}", count(left_out, "operation")));
    } else if !longest.is_empty() {
        text.push("  the longest order that fits is".to_owned());
    }
    text.extend(longest[left_out..].iter().map(|&position| row(history, operations[core[position].id])));
    let stuck = core.iter().enumerate().filter(|(position, _)| !longest.contains(position));
    for (_, call) in stuck.take(3) {
        if let Some(ret) = &call.ret
            && !state.clone().is_valid_step(&call.op, ret)
        {
            text.push(format!("then this is impossible: {}", state.explain(&call.op, ret)));
            text.push(row(history, operations[call.id]));
        }
    }
    text.truncate(15);
    let mut events: Vec<_> = core
        .iter()
        .flat_map(|call| {
            let operation = operations[call.id];
            std::iter::once(operation.invoke_event).chain(operation.complete_event)
        })
        .collect();
    events.sort_unstable();
    Anomaly {
        title: "not linearizable".to_owned(),
        text,
        events: events.into_iter().map(|event| history.locate(event)).collect(),
    }
}

fn row(history: &History, operation: &Operation) -> String {
    let outcome = match operation.reply() {
        Some(Reply::Read { value } | Reply::Dequeue { value }) => {
            format!(" → {}", value.map_or_else(|| "nil".to_owned(), |value| value.to_string()))
        }
        Some(Reply::ReadList { values }) => format!(" → {}", elements(values)),
        Some(_) | None => String::new(),
    };
    let end = match (operation.reply(), operation.completed_at) {
        (Some(_), Some(completed)) => seconds(completed),
        _ => "never returned".to_owned(),
    };
    let node = operation.node.map_or_else(String::new, |node| format!("  {node}"));
    format!(
        "  p{:<3}{node} {}{outcome}  {} – {end}  ({})",
        operation.process.0,
        operation.op,
        seconds(operation.invoked_at),
        history.locate(operation.invoke_event),
    )
}
