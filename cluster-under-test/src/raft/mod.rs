//! The Raft protocol as a pure state machine.

mod types;

pub use types::*;
