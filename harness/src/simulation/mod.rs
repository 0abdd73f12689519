//! The same protocol, state machine, workload and checkers in virtual time: a cluster in one thread, bit-identical by
//! seed.
//!
//! What real processes show in minutes, the simulation shows in milliseconds, for thousands of seeds. It has no kernel
//! and no disk, so it says nothing about sockets, system calls or the write-ahead log; it does say whether the protocol
//! keeps its promises when messages are lost, doubled, delayed and reordered, links cut, nodes paused and crashed with
//! their unsynced writes lost, clocks bent, members exchanged and leaders told to hand over.
//!
//! A run has the phases of a real one (drive, recovery, final reads) and leaves the same evidence: a history and a trace
//! for each node, as text in the formats that real runs write. Each seed also draws *which* kinds of trouble there are
//! and how much of each, so that rare mixes come up (swarm testing).

mod clients;
mod disk;
mod network;
mod node;
mod sweep;
mod world;

use checkers::history::NodeId;
use checkers::situations::{self, Observed};
use checkers::{Budget, CHECKERS, Evidence, Expectations, Finding, History, Trace};

pub use sweep::sweep;

use crate::config::Settings;
use crate::error::Result;
use crate::system;
use crate::workload;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u16,
    /// How many processes.
    pub processes: u32,
    /// How long clients and trouble last, in ticks. An election timeout is 20 ticks.
    pub drive_ticks: u64,
    /// Whether leaders' clocks run far too slow. Otherwise clocks differ by no more than the usual margin of a lease
    /// allows.
    pub bent_clocks: bool,
    /// How the nodes are set. Times in it are not used: the simulation counts in ticks of its own.
    pub settings: Settings,
}

impl Config {
    /// A run of this seed on the paper's Raft.
    pub fn new(seed: u64) -> Self {
        let settings = Settings { snapshot_entries: 40, ..Settings::default() };
        Self { seed, nodes: 5, processes: 10, drive_ticks: 1000, bent_clocks: false, settings }
    }
}

/// What a simulated run leaves, as the files of a real run would hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// `history.jsonl`.
    pub history: String,
    /// `nodes/n1/trace.jsonl`, ….
    pub traces: Vec<(NodeId, String)>,
    /// What the run was meant to show.
    pub expectations: Expectations,
}

/// Simulates one run.
///
/// # Errors
///
/// Bad usage: a bug that does not exist.
pub fn simulate(config: &Config) -> Result<Recording> {
    let rules = system::rules(config.settings.bug.as_deref())?;
    let generator = workload::find("register")?.generator();
    Ok(world::World::new(config, rules, generator).run())
}

impl Recording {
    /// Reads the texts, as `harness check` reads the files of a real run.
    pub fn evidence(&self) -> Evidence {
        let (history, warnings) = History::parse(&self.history, "history.jsonl")
            .expect("the simulation writes well-formed histories");
        assert!(warnings.is_empty(), "a finished history has no odd lines: {warnings:?}");
        let read = |(node, text): &(NodeId, String)| {
            let name = format!("nodes/{node}/trace.jsonl");
            Trace::parse(text, &name, *node).expect("the simulation writes well-formed traces").0
        };
        let traces = self.traces.iter().map(read).collect();
        Evidence { history, traces, expectations: self.expectations.clone() }
    }

    /// What the run passed through.
    pub fn observe(&self) -> Vec<Observed> {
        situations::observe(&self.evidence())
    }

    /// Judges the run by every checker.
    pub fn judge(&self) -> Vec<Finding> {
        checkers::check(CHECKERS, &self.evidence(), Budget::default())
    }
}
