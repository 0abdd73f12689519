//! Judges recorded histories and traces.

pub mod history;
