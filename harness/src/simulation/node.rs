//! A simulated node: the protocol and the state machine of raft-kv over a simulated disk.
//!
//! It carries out the protocol's outputs in order, as the shell of a real node does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cluster_under_test::kv::{Kv, Outcome, Txn};
use cluster_under_test::raft::{
    Config, Entry, Envelope, Input, Output, Payload, Raft, RejectReason, RequestId, Snapshot,
};
use cluster_under_test::rules::Rules;
use cluster_under_test::trace::{Digest, FORMAT, Line, TraceEvent};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::disk::Disk;
use crate::config::Settings;

/// One node, up or down.
pub(super) struct Node {
    config: Config,
    rules: &'static dyn Rules,
    bug: Option<String>,
    snapshot_entries: u64,
    /// The longest that a write may take to be durable.
    sync_ticks_max: u64,
    disk: Disk,
    life: Option<Life>,
    lives: u64,
    /// While it is paused, what happens to it waits here.
    paused: Option<Vec<Input>>,
    trace: String,
    clock: Clock,
    rng: Pcg64Mcg,
}

/// The clock of a node, which need not run as the world does.
struct Clock {
    rate_percent: u64,
    /// The tick of the world up to which it has run.
    seen: u64,
    /// What it shows, in hundredths of a tick.
    shows: u64,
    /// Of that, what the node has had as ticks.
    ticked: u64,
}

impl Clock {
    /// Runs up to now.
    fn run(&mut self, now: Now) {
        self.shows += (now.tick - self.seen) * self.rate_percent;
        self.seen = now.tick;
    }

    fn ms(&self) -> u64 {
        self.shows * TICK_NS / 1_000_000 / 100
    }

    /// Whether the next tick of the node is due.
    fn tick(&mut self) -> bool {
        let due = self.shows >= self.ticked + 100;
        self.ticked += if due { 100 } else { 0 };
        due
    }

    /// Ticks are not made up for: the timer of a real node does not fire for a time in which it was stopped.
    fn skip_ticks(&mut self) {
        self.ticked = self.shows;
    }
}

/// What a crash destroys.
struct Life {
    raft: Raft,
    kv: Kv,
    applied: u64,
    snapshot: u64,
    sequence: u64,
    reads: BTreeMap<RequestId, Txn>,
    writes: BTreeMap<RequestId, Txn>,
}

/// What a step of a node tells the world.
pub(super) enum Effect {
    Send(Envelope),
    /// A request of a client has ended.
    Answer(RequestId, Answer),
}

pub(super) enum Answer {
    Done(Outcome),
    /// The planted bug answers before it knows; the operation is said to have had its wished-for effect.
    Early,
    Rejected(RejectReason),
}

impl Node {
    pub(super) fn new(
        config: Config,
        rules: &'static dyn Rules,
        settings: &Settings,
        sync_ticks_max: u64,
        rng: Pcg64Mcg,
    ) -> Self {
        Self {
            config,
            rules,
            bug: settings.bug.clone(),
            snapshot_entries: settings.snapshot_entries,
            sync_ticks_max,
            disk: Disk::default(),
            life: None,
            lives: 0,
            paused: None,
            trace: String::new(),
            clock: Clock { rate_percent: 100, seen: 0, shows: 0, ticked: 0 },
            rng,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.config.id
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(super) fn trace(self) -> String {
        self.trace
    }

    /// Starts the node from what its disk holds.
    pub(super) fn start(&mut self, now: Now, effects: &mut Vec<Effect>) {
        assert!(self.life.is_none(), "only a node that is down is started");
        self.lives += 1;
        let recovered = self.disk.recover();
        let snapshot_index = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        let (last_index, last_term) = match (recovered.entries.last(), &recovered.snapshot) {
            (Some(entry), _) => (entry.index, entry.term),
            (None, Some(snapshot)) => (snapshot.index, snapshot.term),
            (None, None) => (0, 0),
        };
        self.record(
            now,
            TraceEvent::Boot {
                bug: self.bug.clone(),
                pre_vote: self.config.pre_vote,
                check_quorum: self.config.check_quorum,
                term: recovered.hard_state.term,
                vote: recovered.hard_state.vote,
                snapshot_index,
                last_index,
                last_term,
                torn_bytes: 0,
            },
        );
        let seed = self.rng.random();
        let config = Config { seed, ..self.config.clone() };
        let (raft, outputs) = Raft::new(config, self.rules, recovered);
        self.life = Some(Life {
            raft,
            kv: Kv::default(),
            applied: 0,
            snapshot: snapshot_index,
            sequence: 0,
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
        });
        self.carry_out(outputs, now, effects);
    }

    /// The node loses its memory and part of what it had not synced.
    pub(super) fn crash(&mut self) {
        self.life = None;
        self.paused = None;
        self.disk.crash(&mut self.rng);
    }

    pub(super) fn pause(&mut self) {
        self.paused.get_or_insert_default();
    }

    pub(super) fn resume(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for input in self.paused.take().unwrap_or_default() {
            self.step(input, now, effects);
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Something happens to the node. A node that is down does not notice.
    pub(super) fn step(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        if let Some(waiting) = &mut self.paused {
            if !matches!(input, Input::Tick) {
                waiting.push(input);
            }
            return;
        }
        let Some(life) = &mut self.life else { return };
        self.clock.run(now);
        life.raft.observe_clock(self.clock.ms());
        let outputs = life.raft.step(input);
        self.carry_out(outputs, now, effects);
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.is_up()
            && let Some(seq) = self.disk.sync(now.tick)
        {
            self.step(Input::Persisted { seq }, now, effects);
        }
        self.clock.run(now);
        if !self.is_up() || self.is_paused() {
            self.clock.skip_ticks();
        }
        while self.clock.tick() {
            self.step(Input::Tick, now, effects);
        }
    }

    /// From now on its clock runs so fast.
    pub(super) fn set_clock_rate(&mut self, percent: u64, now: Now) {
        self.clock.run(now);
        self.clock.rate_percent = percent;
    }

    /// The protocol, while the node is up.
    pub(super) fn raft(&self) -> Option<&Raft> {
        self.life.as_ref().map(|life| &life.raft)
    }

    /// An administrator asks. Nobody waits for the answer.
    pub(super) fn administer(
        &mut self,
        ask: impl FnOnce(RequestId) -> Input,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(request) = self.next_request() {
            self.step(ask(request), now, effects);
        }
    }

    /// The name of the next request of a client. `None` if the node is down: the connection is refused.
    pub(super) fn next_request(&mut self) -> Option<RequestId> {
        let life = self.life.as_mut()?;
        life.sequence += 1;
        Some(RequestId { node: self.config.id, incarnation: self.lives, sequence: life.sequence })
    }

    /// A client asks.
    pub(super) fn request(&mut self, request: RequestId, txn: Txn, now: Now, effects: &mut Vec<Effect>) {
        let life = self.life_mut();
        let input = if txn.is_read_only() {
            life.reads.insert(request, txn);
            Input::Read { request }
        } else {
            let command = txn.encode();
            life.writes.insert(request, txn);
            Input::Propose { request, command }
        };
        self.step(input, now, effects);
    }

    fn carry_out(&mut self, outputs: Vec<Output>, now: Now, effects: &mut Vec<Effect>) {
        for output in outputs {
            match output {
                Output::Send(message) => effects.push(Effect::Send(message)),
                Output::Write(write) => {
                    let due = now.tick + self.rng.random_range(0..=self.sync_ticks_max);
                    self.disk.write(write, due);
                }
                Output::Apply(entries) => {
                    for entry in entries {
                        self.apply(&entry, now, effects);
                    }
                }
                Output::Restore(snapshot) => self.restore(&snapshot, now),
                Output::ReadReady { request } => {
                    let life = self.life_mut();
                    if let Some(txn) = life.reads.remove(&request) {
                        effects.push(Effect::Answer(request, Answer::Done(life.kv.read(&txn))));
                    }
                }
                Output::Rejected { request, reason } => {
                    let life = self.life_mut();
                    life.reads.remove(&request);
                    life.writes.remove(&request);
                    effects.push(Effect::Answer(request, Answer::Rejected(reason)));
                }
                Output::AckEarly { request } => {
                    if self.life_mut().writes.remove(&request).is_some() {
                        effects.push(Effect::Answer(request, Answer::Early));
                    }
                }
                // Administrators look at the members, and every simulated node can be reached by its number.
                Output::Transferred { .. } | Output::Members(_) => {}
                Output::Trace(event) => self.record(now, event),
            }
        }
        self.take_snapshot(now, effects);
    }

    fn apply(&mut self, entry: &Entry, now: Now, effects: &mut Vec<Effect>) {
        let salt = self.rules.state_salt(self.config.id);
        let life = self.life_mut();
        assert_eq!(entry.index, life.applied + 1, "entries are applied in order and once");
        life.applied = entry.index;
        if let Payload::Command { request, command } = &entry.payload {
            let txn = Txn::decode(command).expect("the simulation's own command");
            let outcome = life.kv.apply(&txn, salt);
            if life.writes.remove(request).is_some() {
                effects.push(Effect::Answer(*request, Answer::Done(outcome)));
            }
        }
        let event = TraceEvent::Apply {
            index: entry.index,
            entry_term: entry.term,
            digest: Digest::of_entry(entry),
            state: life.kv.digest(),
        };
        self.record(now, event);
    }

    fn restore(&mut self, snapshot: &Snapshot, now: Now) {
        let life = self.life_mut();
        life.kv = Kv::decode(&snapshot.data).expect("the simulation's own snapshot");
        life.applied = snapshot.index;
        life.snapshot = snapshot.index;
        let state = life.kv.digest();
        self.record(now, TraceEvent::Restore { index: snapshot.index, state });
    }

    fn take_snapshot(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let snapshot_entries = self.snapshot_entries;
        let life = self.life_mut();
        if life.applied < life.snapshot + snapshot_entries {
            return;
        }
        life.snapshot = life.applied;
        let input = Input::SnapshotTaken { index: life.applied, data: life.kv.encode() };
        let outputs = life.raft.step(input);
        self.carry_out(outputs, now, effects);
    }

    fn life_mut(&mut self) -> &mut Life {
        self.life.as_mut().expect("only a node that is up has outputs")
    }

    fn record(&mut self, now: Now, event: TraceEvent) {
        let line = Line { format: FORMAT, node: self.config.id, at: now.ns(), event };
        let text = serde_json::to_string(&line).expect("a trace line has only string keys");
        writeln!(self.trace, "{text}").expect("a string takes what it is given");
    }
}

/// The virtual time.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) tick: u64,
}

/// A tick of the simulation stands for this much time in histories and traces.
pub(super) const TICK_NS: u64 = 50_000_000;

impl Now {
    pub(super) fn ns(self) -> u64 {
        self.tick * TICK_NS
    }
}
