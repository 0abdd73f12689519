//! raft-kv: a Raft key-value store whose safety decisions are named, so that bugs can be planted in it.

pub mod api;
pub mod bugs;
pub mod cli;
pub mod failpoint;
pub mod hash;
pub mod kv;
pub mod node;
pub mod raft;
pub mod rules;
pub mod storage;
pub mod trace;
pub mod transport;
