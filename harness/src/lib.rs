//! Boots a Raft cluster as OS processes, hurts it while clients use it, records everything and judges it.
//!
//! The line of a run, each step a module: [`config`] (what was asked) → [`plan`] (seeded, resolved, saved before
//! anything boots) → [`cluster`] (processes and links) → [`drive`] (clients and nemesis, into the [`recorder`])
//! → [`judge`] (evidence read back from the [`run_dir`], findings, verdict) → [`report`].
//! [`run`] walks it from end to end.

pub mod child;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod compare;
pub mod config;
pub mod drive;
pub mod error;
pub mod faults;
pub mod judge;
pub mod names;
pub mod observer;
pub mod plan;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod saved;
pub mod scenario;
pub mod shrink;
pub mod simulation;
pub mod statistics;
pub mod stop;
pub mod swarm;
pub mod system;
pub mod workload;
