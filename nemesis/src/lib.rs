//! Faults and the sandbox they act in.

pub mod actor;
pub mod capability;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod draw;
pub mod faults;
pub mod knobs;
pub mod net;
pub mod pace;
pub mod proc;
pub mod schedule;
pub mod signals;
pub mod target;
pub mod throttle;
pub mod trigger;
