//! A list that grows at its end and is read as a whole; a write replaces it by one element.

use stateright::semantics::SequentialSpec;

use super::{Model, ObjectModel, foreign};
use crate::history::{Op, Operation, Reply, Value, elements};

/// One list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct List {
    /// Its elements, the oldest first.
    pub elements: Vec<Value>,
}

impl SequentialSpec for List {
    type Op = Op;
    type Ret = Reply;

    fn invoke(&mut self, op: &Op) -> Reply {
        match op {
            Op::Append { value, .. } => {
                self.elements.push(*value);
                Reply::Append
            }
            Op::Write { value, .. } => {
                self.elements.clear();
                self.elements.push(*value);
                Reply::Write
            }
            Op::Read { .. } => Reply::ReadList { values: self.elements.clone() },
            other => foreign(other, "list"),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Reply) -> bool {
        // Without a copy of the list: this is the search's innermost step.
        match (op, ret) {
            (Op::Read { .. }, Reply::ReadList { values }) => *values == self.elements,
            (op, ret) => self.invoke(op) == *ret,
        }
    }
}

impl Model for List {
    fn is_pure(op: &Op, _ret: Option<&Reply>) -> bool {
        matches!(op, Op::Read { .. })
    }

    fn explain(&self, _op: &Op, ret: &Reply) -> String {
        match ret {
            Reply::ReadList { values } => {
                format!("it saw {} while the list is {}", elements(values), elements(&self.elements))
            }
            _ => "its reply does not fit it".to_owned(),
        }
    }
}

impl ObjectModel for List {
    fn op(operation: &Operation) -> Op {
        operation.op.clone()
    }
}
