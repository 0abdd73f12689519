//! A queue: first in, first out.

use std::collections::VecDeque;

use stateright::semantics::SequentialSpec;

use super::{Model, ObjectModel, foreign};
use crate::history::{Op, Operation, Reply, Value};

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Queue {
    /// What waits in it, the oldest first.
    pub waiting: VecDeque<Value>,
}

impl SequentialSpec for Queue {
    type Op = Op;
    type Ret = Reply;

    fn invoke(&mut self, op: &Op) -> Reply {
        match op {
            Op::Enqueue { value, .. } => {
                self.waiting.push_back(*value);
                Reply::Enqueue
            }
            Op::Dequeue { .. } => Reply::Dequeue { value: self.waiting.pop_front() },
            other => foreign(other, "queue"),
        }
    }
}

impl Model for Queue {
    /// A dequeue that found the queue empty took nothing.
    fn is_pure(_op: &Op, ret: Option<&Reply>) -> bool {
        matches!(ret, Some(Reply::Dequeue { value: None }))
    }

    fn explain(&self, _op: &Op, ret: &Reply) -> String {
        let front = match self.waiting.front() {
            Some(front) => format!("{front} is at the front"),
            None => "the queue is empty".to_owned(),
        };
        match ret {
            Reply::Dequeue { value: Some(value) } => format!("it took {value} while {front}"),
            Reply::Dequeue { value: None } => format!("it found the queue empty while {front}"),
            _ => "its reply does not fit it".to_owned(),
        }
    }
}

impl ObjectModel for Queue {
    fn op(operation: &Operation) -> Op {
        operation.op.clone()
    }
}
