//! raft-kv: a Raft key-value store whose safety decisions are named, so that bugs can be planted in it.

pub mod hash;
pub mod kv;
pub mod raft;
pub mod storage;
pub mod trace;
pub mod transport;
