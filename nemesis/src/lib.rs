//! Faults and the sandbox they act in.

pub mod cluster;
pub mod net;
