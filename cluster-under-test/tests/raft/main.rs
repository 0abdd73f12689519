//! Raft cores on a small deterministic network: golden stories, and random schedules.

mod judge;
mod network;
mod print;
mod random;
mod stories;
