//! A register with compare-and-set and delete: one key of a key-value store.

use stateright::semantics::SequentialSpec;

use super::{Held, Model, RegisterView, foreign};
use crate::history::{Op, Reply};

/// One register. Keys are independent, so an operation's key does not matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Register {
    /// What it holds; `None` before the first write.
    pub value: Held,
}

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Reply;

    fn invoke(&mut self, op: &Op) -> Reply {
        match *op {
            Op::Read { .. } => Reply::Read { value: self.value },
            Op::Write { value, .. } => {
                self.value = Some(value);
                Reply::Write
            }
            Op::Cas { from, to, .. } => {
                if self.value == Some(from) {
                    self.value = Some(to);
                    Reply::Swapped
                } else {
                    Reply::NotSwapped { seen: self.value }
                }
            }
            Op::Delete { .. } => {
                self.value = None;
                Reply::Delete
            }
            ref other => foreign(other, "register"),
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Reply) -> bool {
        match (op, ret) {
            (Op::Cas { from, .. }, Reply::Mismatch) => self.value != Some(*from),
            _ => self.invoke(op) == *ret,
        }
    }
}

impl Model for Register {
    fn is_pure(op: &Op, ret: Option<&Reply>) -> bool {
        matches!(op, Op::Read { .. }) || matches!(ret, Some(Reply::NotSwapped { .. } | Reply::Mismatch))
    }

    fn register_view(op: &Op, ret: Option<&Reply>) -> RegisterView {
        match (op, ret) {
            (&Op::Cas { from, to, .. }, None | Some(Reply::Swapped)) => RegisterView::Swap { from, to },
            (&Op::Write { value, .. }, _) => RegisterView::Write(value),
            (&Op::Cas { from, .. }, Some(Reply::Mismatch)) => RegisterView::Differs(Some(from)),
            (Op::Delete { .. }, _) => RegisterView::Clear,
            // It found what it expected and yet did nothing: no register does that.
            (&Op::Cas { from, .. }, Some(&Reply::NotSwapped { seen })) if seen == Some(from) => {
                RegisterView::Opaque
            }
            (_, Some(&(Reply::Read { value } | Reply::NotSwapped { seen: value }))) => {
                RegisterView::Read(value)
            }
            // A read that nobody saw the end of, or a reply that does not fit, which no history holds.
            _ => RegisterView::Opaque,
        }
    }

    fn register_value(&self) -> Option<Held> {
        Some(self.value)
    }

    fn explain(&self, op: &Op, ret: &Reply) -> String {
        let held = show(self.value);
        match (op, ret) {
            (Op::Cas { from, .. }, Reply::NotSwapped { seen }) if *seen == Some(*from) => {
                format!("it found the value {from} that it expected and yet did nothing")
            }
            (Op::Cas { from, .. }, Reply::Mismatch) => {
                format!("it was refused while the register holds the value {from} that it expects")
            }
            (Op::Cas { from, .. }, Reply::Swapped) => {
                format!("it succeeded on {from} while the register holds {held}")
            }
            (_, Reply::Read { value: seen } | Reply::NotSwapped { seen }) => {
                format!("it saw {} while the register holds {held}", show(*seen))
            }
            _ => "its reply does not fit it".to_owned(),
        }
    }
}

/// A register's value for a reader.
pub(crate) fn show(held: Held) -> String {
    held.map_or_else(|| "nil".to_owned(), |value| value.to_string())
}
