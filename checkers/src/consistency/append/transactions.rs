//! The transactions of a history, and the replay of an order of them.

use std::collections::HashMap;

use crate::history::{History, MicroOp, Op, Operation, Reply, Value};

/// One transaction.
pub(super) struct Transaction<'a> {
    pub(super) operation: &'a Operation,
    /// What it did; what its reads saw is there if it committed.
    pub(super) ops: &'a [MicroOp],
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

/// All transactions, in the order of their invocations.
pub(super) fn transactions(history: &History) -> Vec<Transaction<'_>> {
    let mut transactions = Vec::new();
    for operation in history.operations() {
        let Op::Txn { ops: asked } = &operation.op else { continue };
        let (ops, outcome) = match operation.reply() {
            Some(Reply::Txn { ops }) => (ops, Outcome::Committed),
            _ if operation.failed() => (asked, Outcome::Aborted),
            _ => (asked, Outcome::Unknown),
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
        for op in transactions[index].ops {
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
