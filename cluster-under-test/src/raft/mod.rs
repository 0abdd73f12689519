//! The Raft protocol as a pure state machine.

mod types;

use crate::rules::Rules;

pub use types::*;

/// One node's part in the protocol.
pub struct Raft {
    config: Config,
    rules: &'static dyn Rules,
    term: Term,
}

impl Raft {
    /// A node that has just started, with what it found on its disk; the outputs come before any input.
    #[must_use]
    pub fn new(config: Config, rules: &'static dyn Rules, recovered: Recovered) -> (Self, Vec<Output>) {
        let raft = Self { config, rules, term: recovered.hard_state.term };
        (raft, recovered.snapshot.map(Output::Restore).into_iter().collect())
    }

    /// Something has happened; the outputs are to be carried out in order.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        let _ = (input, self.rules);
        Vec::new()
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it believes itself to be.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::Follower
    }

    /// Its current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The leader it knows of in its term.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        None
    }

    /// Index of its last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        0
    }

    /// Index of the last entry it knows to be committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        0
    }

    /// Index of the last entry it has handed out to be applied.
    #[must_use]
    pub fn applied_index(&self) -> Index {
        0
    }
}
