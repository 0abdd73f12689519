//! A counter that only grows.

use stateright::semantics::SequentialSpec;

use super::{Model, ObjectModel, foreign};
use crate::history::{Op, Operation, Reply, Value};

/// One counter. A key that does not exist counts as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counter {
    /// The sum of what was added.
    pub total: Value,
}

impl SequentialSpec for Counter {
    type Op = Op;
    type Ret = Reply;

    fn invoke(&mut self, op: &Op) -> Reply {
        match op {
            Op::Add { value, .. } => {
                self.total = self.total.saturating_add(*value);
                Reply::Add
            }
            Op::Read { .. } => Reply::Read { value: Some(self.total) },
            other => foreign(other, "counter"),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Reply) -> bool {
        match (op, ret) {
            (Op::Read { .. }, Reply::Read { value }) => value.unwrap_or(0) == self.total,
            (op, ret) => self.invoke(op) == *ret,
        }
    }
}

impl Model for Counter {
    /// Adding nothing is a read whose reply nobody saw.
    fn is_pure(op: &Op, _ret: Option<&Reply>) -> bool {
        matches!(op, Op::Read { .. } | Op::Add { value: 0, .. })
    }

    fn explain(&self, _op: &Op, ret: &Reply) -> String {
        match ret {
            Reply::Read { value } => {
                format!("it saw {} while the counter is {}", value.unwrap_or(0), self.total)
            }
            _ => "its reply does not fit it".to_owned(),
        }
    }
}

impl ObjectModel for Counter {
    fn op(operation: &Operation) -> Op {
        operation.op.clone()
    }
}
