//! The transactions of a history, and the replay of an order of them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::history::{History, MicroOp, Op, Operation, Reply, Value};
use crate::model::Object;

/// One transaction.
pub(super) struct Transaction<'a> {
    pub(super) operation: &'a Operation,
    /// What it did; what its reads saw is there if it committed.
    pub(super) ops: Cow<'a, [MicroOp]>,
    pub(super) outcome: Outcome,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Aborted,
    /// Nobody knows, unless somebody saw what it appended.
    Unknown,
}

impl Transaction<'_> {
    pub(super) fn has_committed(&self) -> bool {
        self.outcome == Outcome::Committed
    }

    /// What it appended, in order.
    pub(super) fn appends(&self) -> impl Iterator<Item = (&str, Value)> {
        self.ops.iter().filter_map(|op| match op {
            MicroOp::Append { key, value } => Some((key.as_str(), *value)),
            MicroOp::Read { .. } => None,
        })
    }
}

/// Whether the history is one of lists without transactions whose order shows all the same: appends of unique elements
/// and reads. Each operation is then a transaction of one step.
pub(super) fn has_lists(history: &History) -> bool {
    if Object::of(history) != Object::List || Object::List.misfit(history).is_some() {
        return false;
    }
    let mut elements = HashSet::new();
    let shows = history.operations().iter().all(|operation| match &operation.op {
        Op::Append { key, value } => elements.insert((key.as_str(), *value)),
        Op::Read { .. } => true,
        _ => false,
    });
    shows && !elements.is_empty()
}

/// All transactions, in the order of their invocations.
pub(super) fn transactions(history: &History) -> Vec<Transaction<'_>> {
    let of_one_step = has_lists(history);
    let mut transactions = Vec::new();
    for operation in history.operations() {
        let asked = match &operation.op {
            Op::Txn { ops } => Cow::Borrowed(ops.as_slice()),
            Op::Append { key, value } if of_one_step => {
                Cow::Owned(vec![MicroOp::Append { key: key.clone(), value: *value }])
            }
            Op::Read { key } if of_one_step => {
                Cow::Owned(vec![MicroOp::Read { key: key.clone(), values: None }])
            }
            // The other checkers judge it.
            _ => continue,
        };
        let (ops, outcome) = match (operation.reply(), &operation.op) {
            (Some(Reply::Txn { ops }), _) => (Cow::Borrowed(ops.as_slice()), Outcome::Committed),
            (Some(Reply::ReadList { values }), Op::Read { key }) => {
                let read = MicroOp::Read { key: key.clone(), values: Some(values.clone()) };
                (Cow::Owned(vec![read]), Outcome::Committed)
            }
            (Some(_), _) => (asked, Outcome::Committed),
            (None, _) if operation.failed() => (asked, Outcome::Aborted),
            (None, _) => (asked, Outcome::Unknown),
        };
        transactions.push(Transaction { operation, ops, outcome });
    }
    transactions
}

/// Runs the transactions one at a time in this order; those that are not in it did not happen. Panics if a
/// read would see something else than it saw: then the order, and with it the checker, is wrong.
pub(super) fn replay(transactions: &[Transaction<'_>], order: &[usize]) {
    let mut lists: HashMap<&str, Vec<Value>> = HashMap::new();
    for &index in order {
        for op in transactions[index].ops.iter() {
            match op {
                MicroOp::Append { key, value } => lists.entry(key).or_default().push(*value),
                MicroOp::Read { key, values: Some(values) } => {
                    let list = lists.get(key.as_str()).map_or(&[][..], Vec::as_slice);
                    assert_eq!(list, values, "the order that the dependencies give can be replayed");
                }
                MicroOp::Read { values: None, .. } => {}
            }
        }
    }
}
