//! What is on a picture: the operations of the core, those beside them, and the arrows between them.

use std::collections::HashMap;

use crate::counterexample::{CoreOperation, Counterexample};
use crate::evidence::Evidence;
use crate::history::{Completion, Op, Operation, Reply, Time};

/// Operations on the objects of the core that were under way in the window, and are no part of the core.
pub(super) fn beside<'a>(
    evidence: &'a Evidence,
    core: &Counterexample,
    (from, until): (Time, Time),
) -> Vec<&'a Operation> {
    let keys: Vec<&str> = core.operations.iter().filter_map(|operation| operation.op.key()).collect();
    let in_core = |operation: &&Operation| core.operations.iter().any(|known| known.index == operation.index);
    let operations = evidence.history.operations().iter();
    operations
        .filter(|operation| operation.op.key().is_some_and(|key| keys.contains(&key)))
        .filter(|operation| operation.invoked_at <= until && ended(operation) >= from)
        .filter(|operation| !in_core(operation))
        .collect()
}

/// When it ended for its client. What was given up may still take effect, but it is nobody's turn any more.
fn ended(operation: &Operation) -> Time {
    operation.completed_at.unwrap_or(Time::MAX)
}

/// An arrow from one operation of the core to another.
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether the first had returned before the second began, with nothing in between.
    pub(super) before: bool,
    /// The value of the first that the second saw.
    pub(super) seen: Option<u64>,
}

/// Who had returned before whom was invoked, without what follows from two such steps; and who saw whose value.
pub(super) fn arrows(operations: &[CoreOperation]) -> Vec<Arrow> {
    let before = |a: &CoreOperation, b: &CoreOperation| {
        matches!(a.completion, Some(Completion::Ok(_)))
            && a.completed_ns.is_some_and(|returned| returned < b.invoked_ns)
    };
    let mut arrows: Vec<Arrow> = Vec::new();
    for (from, a) in operations.iter().enumerate() {
        for (to, b) in operations.iter().enumerate() {
            let between = |c: &CoreOperation| before(a, c) && before(c, b);
            if before(a, b) && !operations.iter().any(between) {
                arrows.push(Arrow { from, to, before: true, seen: None });
            }
        }
    }
    let mut writers: HashMap<(Option<&str>, u64), usize> = HashMap::new();
    for (index, operation) in operations.iter().enumerate() {
        if let Some(value) = written(&operation.op) {
            writers.entry((operation.op.key(), value)).or_insert(index);
        }
    }
    for (to, operation) in operations.iter().enumerate() {
        if let Some(value) = seen(operation)
            && let Some(&from) = writers.get(&(operation.op.key(), value))
            && from != to
        {
            match arrows.iter_mut().find(|arrow| (arrow.from, arrow.to) == (from, to)) {
                Some(arrow) => arrow.seen = Some(value),
                None => arrows.push(Arrow { from, to, before: false, seen: Some(value) }),
            }
        }
    }
    arrows
}

fn written(op: &Op) -> Option<u64> {
    match *op {
        Op::Write { value, .. } | Op::Cas { to: value, .. } | Op::Enqueue { value, .. } => Some(value),
        _ => None,
    }
}

fn seen(operation: &CoreOperation) -> Option<u64> {
    match (&operation.completion, &operation.op) {
        (Some(Completion::Ok(Reply::Read { value } | Reply::Dequeue { value })), _) => *value,
        (Some(Completion::Ok(Reply::NotSwapped { seen })), _) => *seen,
        (Some(Completion::Ok(Reply::Swapped)), Op::Cas { from, .. }) => Some(*from),
        _ => None,
    }
}
