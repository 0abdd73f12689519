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

/// Makes up operations; shared by all processes of a run.
pub trait Generator: Send + Sync {
    /// The next operation of a process, drawn from the process's own random numbers.
    fn next(&self, rng: &mut Pcg64Mcg) -> Op;
    /// How an operation ended, so that later ones can build on it.
    fn completed(&self, op: &Op, completion: &Completion);
    /// The reads that together show the final state.
    fn final_reads(&self) -> Vec<Op>;
}
