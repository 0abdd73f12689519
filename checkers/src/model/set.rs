//! A set that only grows and is read as a whole.

use std::collections::BTreeSet;

use stateright::semantics::SequentialSpec;

use super::{Model, ObjectModel, foreign};
use crate::history::{Op, Operation, Reply, Value};

/// One set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set {
    /// Its elements.
    pub elements: BTreeSet<Value>,
}

impl SequentialSpec for Set {
    type Op = Op;
    type Ret = Reply;

    fn invoke(&mut self, op: &Op) -> Reply {
        match op {
            Op::Add { value, .. } => {
                self.elements.insert(*value);
                Reply::Add
            }
            Op::Read { .. } => Reply::ReadList { values: self.elements.iter().copied().collect() },
            other => foreign(other, "set"),
        }
    }

    /// A read may list the elements in any order, each once.
    fn is_valid_step(&mut self, op: &Op, ret: &Reply) -> bool {
        match (op, ret) {
            (Op::Read { .. }, Reply::ReadList { values }) => {
                values.len() == self.elements.len()
                    && values.iter().copied().collect::<BTreeSet<_>>() == self.elements
            }
            (op, ret) => self.invoke(op) == *ret,
        }
    }
}

impl Model for Set {
    fn is_pure(op: &Op, _ret: Option<&Reply>) -> bool {
        matches!(op, Op::Read { .. })
    }

    fn explain(&self, _op: &Op, ret: &Reply) -> String {
        let Reply::ReadList { values } = ret else { return "its reply does not fit it".to_owned() };
        let seen: BTreeSet<Value> = values.iter().copied().collect();
        if seen.len() < values.len() {
            return format!("it saw an element twice: {values:?}");
        }
        if let Some(lost) = self.elements.difference(&seen).next() {
            return format!("it did not see {lost}, which is in the set");
        }
        match seen.difference(&self.elements).next() {
            Some(surplus) => format!("it saw {surplus}, which is not in the set"),
            None => "its reply does not fit it".to_owned(),
        }
    }
}

impl ObjectModel for Set {
    fn op(operation: &Operation) -> Op {
        operation.op.clone()
    }
}
