//! The workloads: what clients ask, and as which kind of object the answers are judged. A workload is one file
//! and one line in [`WORKLOADS`].

use std::sync::Arc;

use checkers::history::{Completion, Op, OpKind};
use rand_pcg::Pcg64Mcg;

use crate::error::Result;
use crate::names;

mod register;

pub use register::Register;

/// Every workload, in the order shown by `harness list`.
pub const WORKLOADS: &[&dyn Workload] = &[&Register];

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

/// The part that a process plays in a workload.
///
/// A process that also writes is stuck as soon as its node cannot commit, and stays so until the operation is given up.
/// A leader that was cut off could then serve stale reads to nobody. So each node has processes that only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Asks for every kind of operation.
    Mixed,
    /// Only reads.
    Reader,
}

impl Part {
    /// The part of a process, by its number: the first process of every node is mixed, the second one reads, and so on.
    pub fn of(process: u32, nodes: usize) -> Self {
        if (process as usize / nodes).is_multiple_of(2) { Self::Mixed } else { Self::Reader }
    }
}

/// Makes up operations; shared by all processes of a run.
pub trait Generator: Send + Sync {
    /// The next operation of a process, drawn from the process's own random numbers.
    fn next(&self, part: Part, rng: &mut Pcg64Mcg) -> Op;
    /// How an operation ended, so that later ones can build on it.
    fn completed(&self, op: &Op, completion: &Completion);
    /// The reads that together show the final state.
    fn final_reads(&self) -> Vec<Op>;
}
