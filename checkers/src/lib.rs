//! Judges recorded histories and traces.
//!
//! A checker is a function from [`Evidence`] to a [`Finding`]. It reads no clock and does no I/O, so the same
//! evidence and the same [`Budget`] give the same finding, on the day of the run and years later. The formats
//! of the evidence are specified in `HISTORY.md`.

pub mod account;
mod availability;
mod blame;
mod bounds;
mod consistency;
pub mod counterexample;
mod coverage;
mod crashes;
mod disturbance;
mod event_ref;
mod evidence;
pub mod finding;
pub mod history;
mod json;
mod keys;
pub mod linearizable;
mod liveness;
pub mod measures;
pub mod model;
pub mod picture;
pub mod raft;
mod reign;
pub mod situations;
mod summary;
pub mod trace;

pub use availability::Availability;
pub use blame::blame;
pub use bounds::{Bound, Bounds};
pub use consistency::{Append, Sequential, Staleness};
pub use counterexample::Counterexample;
pub use coverage::Coverage;
pub use crashes::Crashes;
pub use event_ref::EventRef;
pub use evidence::{Consistency, Evidence, Expectations, ExpectedFault};
pub use finding::{Anomaly, Budget, Checker, Finding, Verdict, check, verdict};
pub use history::History;
pub use json::{Malformed, Warning};
pub use linearizable::Linearizable;
pub use liveness::Recovery;
pub use situations::SITUATIONS;
pub use summary::{FaultCounts, OperationCounts, Summary};
pub use trace::Trace;

/// Every checker, in the order shown by `harness list`.
pub const CHECKERS: &[&dyn Checker] = &[
    &Linearizable,
    &Sequential,
    &Staleness,
    &Append,
    &raft::ElectionSafety,
    &raft::LeaderAppendOnly,
    &raft::LogMatching,
    &raft::LeaderCompleteness,
    &raft::StateMachineSafety,
    &raft::DurableVotes,
    &raft::DurableCommit,
    &raft::Monotone,
    &raft::Membership,
    &raft::SnapshotMatchesLog,
    &Recovery,
    &Availability,
    &Bounds,
    &Crashes,
    &Coverage,
];
