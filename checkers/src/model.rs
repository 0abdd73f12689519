//! Sequential specifications: what an object does when nobody else touches it.
//!
//! The specification itself is stateright's [`SequentialSpec`]; [`Model`] adds what a search can use to be
//! faster and what a counterexample can use to be clearer. Every hook has a default that is always right, so
//! any stateright specification works as it is, wrapped in [`Plain`].

mod counter;
mod list;
mod lock;
mod object;
mod queue;
mod register;
mod set;

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use crate::history::Op;

pub use counter::Counter;
pub use list::List;
pub use lock::{Lock, LockOp};
pub use object::{Object, ObjectModel};
pub use queue::Queue;
pub use register::Register;
pub(crate) use register::show;
pub use set::Set;
pub use stateright::semantics::SequentialSpec;

/// A sequential specification with hints for the search.
pub trait Model:
    SequentialSpec<Op: Clone + Debug + Sync, Ret: Clone + Debug + Sync> + Clone + Eq + Hash
{
    /// Whether the operation, with this return (`None`: it never returned), leaves *every* state as it is in
    /// which it is possible. Not only the present state: the search moves pure operations about.
    fn is_pure(op: &Self::Op, ret: Option<&Self::Ret>) -> bool {
        let _ = (op, ret);
        false
    }

    /// Lets an operation take effect whose return nobody saw.
    fn apply_unknown(&mut self, op: &Self::Op) {
        let _ = self.invoke(op);
    }

    /// What the operation does to a register, if the object is one.
    fn register_view(op: &Self::Op, ret: Option<&Self::Ret>) -> RegisterView {
        let _ = (op, ret);
        RegisterView::Opaque
    }

    /// The value held, if the object is a register. It must be so for all of a model's states or for none.
    fn register_value(&self) -> Option<Held> {
        None
    }

    /// Why the operation cannot return this in the present state, as the end of a sentence.
    fn explain(&self, op: &Self::Op, ret: &Self::Ret) -> String {
        let mut after = self.clone();
        format!("it would return {:?}, not {ret:?}", after.invoke(op))
    }
}

/// What a register holds; `None` if it was never written.
pub type Held = Option<u64>;

/// An operation as a register sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterView {
    /// Needs this value and leaves it.
    Read(Held),
    /// Needs nothing and leaves this value.
    Write(u64),
    /// Needs one value and leaves another. If it never returned, it does so or does nothing.
    Swap {
        /// The value needed.
        from: u64,
        /// The value left.
        to: u64,
    },
    /// Needs any value but this one and leaves it: a compare-and-set that failed without telling the value
    /// that it saw.
    Differs(Held),
    /// Needs nothing and leaves the register as if it had never been written.
    Clear,
    /// Something else, of which nothing is known.
    Opaque,
}

impl RegisterView {
    /// The value that it leaves behind, if it writes one.
    pub fn writes(self) -> Option<u64> {
        match self {
            RegisterView::Write(value) | RegisterView::Swap { to: value, .. } => Some(value),
            RegisterView::Read(_) | RegisterView::Differs(_) | RegisterView::Clear | RegisterView::Opaque => {
                None
            }
        }
    }

    /// The value that it needs to find.
    pub fn needs(self) -> Option<Held> {
        match self {
            RegisterView::Read(held) => Some(held),
            RegisterView::Swap { from, .. } => Some(Some(from)),
            RegisterView::Write(_)
            | RegisterView::Differs(_)
            | RegisterView::Clear
            | RegisterView::Opaque => None,
        }
    }
}

/// Stops a model that is handed an operation of another kind of object.
fn foreign(op: &Op, object: &str) -> ! {
    panic!("a {object} knows no {}; a history is asked first whether its operations fit", op.kind())
}

/// Any stateright specification as a [`Model`], with the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain<S>(pub S);

/// Sound for the search: a state that is not equal to itself would only be looked at more than once.
impl<S: PartialEq> Eq for Plain<S> {}

/// Written out, since a derive would not see that it agrees with the equality above.
impl<S: Hash> Hash for Plain<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<S: SequentialSpec> SequentialSpec for Plain<S> {
    type Op = S::Op;
    type Ret = S::Ret;

    fn invoke(&mut self, op: &S::Op) -> S::Ret {
        self.0.invoke(op)
    }

    fn is_valid_step(&mut self, op: &S::Op, ret: &S::Ret) -> bool {
        self.0.is_valid_step(op, ret)
    }
}

impl<S> Model for Plain<S> where
    S: SequentialSpec<Op: Clone + Debug + Sync, Ret: Clone + Debug + Sync> + Clone + PartialEq + Hash
{
}
