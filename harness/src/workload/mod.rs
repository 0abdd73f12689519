//! The workloads: what clients ask, and as which kind of object the answers are judged. A workload is one file
//! and one line in [`WORKLOADS`].

use std::sync::Arc;

use checkers::history::{Completion, MicroOp, NodeId, Op, OpKind, Reply};
use rand_pcg::Pcg64Mcg;

use crate::error::Result;
use crate::names;

mod append;
mod counter;
mod keys;
mod lock;
mod queue;
mod register;
mod set;
mod txn;

pub use append::Append;
pub use counter::Counter;
pub use lock::Lock;
pub use queue::Queue;
pub use register::Register;
pub use set::Set;
pub use txn::Txn;

/// Every workload, in the order shown by `harness list`.
pub const WORKLOADS: &[&dyn Workload] = &[&Register, &Append, &Txn, &Set, &Counter, &Queue, &Lock];

/// The workload of that name; an error offers the nearest.
pub fn find(name: &str) -> Result<&'static dyn Workload> {
    names::find("workload", name, WORKLOADS.iter().copied(), |workload| workload.name())
}

/// A purpose: operations to ask for. The model and the checkers that judge them belong to the same name.
pub trait Workload: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it is, in a line.
    fn about(&self) -> &'static str;
    /// The kinds of operations; a run in which one never succeeded is unknown.
    fn operation_kinds(&self) -> &'static [OpKind];
    /// A generator for one run.
    fn generator(&self) -> Arc<dyn Generator>;
}

/// A place at a node for one process. When its process is retired, a new one takes the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which; no other seat of the run has it.
    pub number: u32,
    /// What is asked from there.
    pub part: Part,
}

impl Seat {
    /// One of those that work during the run. The first seat of every node is mixed, the second one reads, and so on.
    pub fn of(number: u32, nodes: usize) -> Self {
        let is_mixed = (number as usize / nodes).is_multiple_of(2);
        Self { number, part: if is_mixed { Part::Mixed } else { Part::Reader } }
    }

    /// The seat from which a node is asked whether it serves again, behind so many others.
    pub fn probe(seats: u32, node: NodeId) -> Self {
        Self { number: seats + u32::from(node.0), part: Part::Mixed }
    }
}

/// The part that a process plays in a workload.
///
/// A process that also writes is stuck as soon as its node cannot commit, and stays so until the operation is given up.
/// A leader that was cut off could then serve stale reads to nobody. So each node has processes that only read. They
/// never leave it, so that what is stale is the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Asks for every kind of operation.
    Mixed,
    /// Only reads; where nothing can be read, what a reader asks is said in the workload.
    Reader,
}

/// Whether an operation has changed something, which shows that the cluster can commit.
pub fn has_written(op: &Op, completion: &Completion) -> bool {
    let Completion::Ok(reply) = completion else { return false };
    match op {
        Op::Read { .. } => false,
        Op::Cas { .. } => *reply == Reply::Swapped,
        Op::Dequeue { .. } => *reply != Reply::Dequeue { value: None },
        Op::Txn { ops } => ops.iter().any(|op| matches!(op, MicroOp::Append { .. })),
        Op::Write { .. }
        | Op::Delete { .. }
        | Op::Append { .. }
        | Op::Add { .. }
        | Op::Enqueue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. } => true,
    }
}

/// Makes up operations; shared by all processes of a run.
pub trait Generator: Send + Sync {
    /// The next operation of the process in this seat, drawn from its own random numbers.
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op;
    /// How an operation ended, so that later ones can build on it.
    fn completed(&self, seat: Seat, op: &Op, completion: &Completion);
    /// Operations that together show the final state.
    fn final_reads(&self) -> Vec<Op>;
}

#[cfg(test)]
mod tests;
