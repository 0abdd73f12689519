//! A lock that one process holds at a time.
//!
//! It knows no leases: a lock that its service takes back from a client that fell silent is held by two, as far
//! as clients can tell, and judged so.

use stateright::semantics::SequentialSpec;

use super::{Model, ObjectModel, foreign};
use crate::history::{Op, Operation, ProcessId, Reply};

/// One lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lock {
    /// Who holds it.
    pub owner: Option<ProcessId>,
}

/// An acquire or a release, and who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockOp {
    /// Who asks.
    pub process: ProcessId,
    /// What.
    pub op: Op,
}

impl Lock {
    /// Does what is asked, if it is possible now.
    fn step(&mut self, asked: &LockOp) -> bool {
        let (needed, after) = match &asked.op {
            Op::Acquire { .. } => (None, Some(asked.process)),
            Op::Release { .. } => (Some(asked.process), None),
            other => foreign(other, "lock"),
        };
        let possible = self.owner == needed;
        if possible {
            self.owner = after;
        }
        possible
    }
}

impl SequentialSpec for Lock {
    type Op = LockOp;
    type Ret = Reply;

    /// An operation that is not possible waits, so it has no reply; the one returned then fits none.
    fn invoke(&mut self, asked: &LockOp) -> Reply {
        match (self.step(asked), &asked.op) {
            (true, Op::Acquire { .. }) => Reply::Acquire,
            (true, _) => Reply::Release,
            (false, Op::Acquire { .. }) => Reply::Release,
            (false, _) => Reply::Acquire,
        }
    }

    fn is_valid_step(&mut self, asked: &LockOp, _ret: &Reply) -> bool {
        self.step(asked)
    }
}

impl Model for Lock {
    fn apply_unknown(&mut self, asked: &LockOp) {
        self.step(asked);
    }

    fn explain(&self, _asked: &LockOp, _ret: &Reply) -> String {
        match self.owner {
            Some(owner) => format!("p{} holds the lock", owner.0),
            None => "nobody holds the lock".to_owned(),
        }
    }
}

impl ObjectModel for Lock {
    fn op(operation: &Operation) -> LockOp {
        LockOp { process: operation.process, op: operation.op.clone() }
    }
}
