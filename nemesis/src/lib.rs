//! Faults and the sandbox they act in.

pub mod actor;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod knobs;
pub mod net;
pub mod proc;
pub mod schedule;
pub mod target;
pub mod trigger;
