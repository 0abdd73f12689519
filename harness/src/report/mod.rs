//! What a run shows: progress while it lasts, and its outcome to people and to machines.

mod json;
mod progress;
mod terminal;

pub use json::object;
pub use progress::{DriveState, Progress};
pub use terminal::outcome;
