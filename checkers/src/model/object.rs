//! Which kind of object the keys of a history are. The workload in the header tells; the model follows from it.

use stateright::semantics::SequentialSpec;

use super::{Model, Register};
use crate::history::{History, Op, Operation, Reply};

/// The kinds of objects that there are models for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// [`Register`], which is also one key of a key-value store.
    Register,
    /// [`super::List`].
    List,
    /// [`super::Set`].
    Set,
    /// [`super::Counter`].
    Counter,
    /// [`super::Queue`].
    Queue,
    /// [`super::Lock`].
    Lock,
}

impl Object {
    /// What a workload drives. Names that are not known are taken for registers, as most workloads are.
    pub fn of_workload(name: &str) -> Object {
        match name {
            "append" | "append-list" | "txn" => Object::List,
            "set" => Object::Set,
            "counter" => Object::Counter,
            "queue" => Object::Queue,
            "lock" => Object::Lock,
            _ => Object::Register,
        }
    }

    /// What the keys of a history are.
    pub fn of(history: &History) -> Object {
        Object::of_workload(&history.header().workload)
    }

    /// Its name for a reader.
    pub fn name(self) -> &'static str {
        match self {
            Object::Register => "register",
            Object::List => "list",
            Object::Set => "set",
            Object::Counter => "counter",
            Object::Queue => "queue",
            Object::Lock => "lock",
        }
    }

    /// Whether the model knows the operation and, if there is one, the shape of the reply.
    pub fn admits(self, op: &Op, reply: Option<&Reply>) -> bool {
        match (self, op) {
            (Object::Register | Object::Counter, Op::Read { .. }) => {
                matches!(reply, None | Some(Reply::Read { .. }))
            }
            (Object::List | Object::Set, Op::Read { .. }) => {
                matches!(reply, None | Some(Reply::ReadList { .. }))
            }
            (Object::Register, Op::Write { .. } | Op::Cas { .. } | Op::Delete { .. })
            | (Object::List, Op::Append { .. } | Op::Write { .. })
            | (Object::Set | Object::Counter, Op::Add { .. })
            | (Object::Queue, Op::Enqueue { .. } | Op::Dequeue { .. })
            | (Object::Lock, Op::Acquire { .. } | Op::Release { .. }) => true,
            (
                Object::Register
                | Object::List
                | Object::Set
                | Object::Counter
                | Object::Queue
                | Object::Lock,
                _,
            ) => false,
        }
    }

    /// Why the history cannot be judged by this object, if it cannot.
    pub(crate) fn objection(self, history: &History) -> Option<String> {
        let misfit = self.misfit(history)?;
        let line = history.locate(misfit.invoke_event);
        Some(format!("{line}: a {} knows no such {}", self.name(), misfit.op.kind()))
    }

    /// The first operation that is none of this object's. A transaction belongs to no object and is not meant.
    pub fn misfit(self, history: &History) -> Option<&Operation> {
        history
            .operations()
            .iter()
            .find(|operation| operation.op.key().is_some() && !self.admits(&operation.op, operation.reply()))
    }
}

/// A model that judges the operations of a history.
pub trait ObjectModel: Model + SequentialSpec<Ret = Reply> + Default {
    /// The operation as the model sees it.
    fn op(operation: &Operation) -> Self::Op;
}

impl ObjectModel for Register {
    fn op(operation: &Operation) -> Op {
        operation.op.clone()
    }
}
