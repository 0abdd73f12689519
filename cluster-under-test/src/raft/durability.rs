//! What is on its way to the disk, and the promises that wait for it.
//!
//! The rule: a node promises nothing that a restart could take back (Figure 2, persistent state). A vote is
//! sent or counted, entries are acknowledged and a snapshot is reported as installed only when the write that
//! holds them is durable. Writes are durable in the order of their `seq`, so waiting for one waits for all
//! before it.
//!
//! Everything else goes out at once. In particular a leader sends entries while it writes them itself, and
//! counts its own copy like a follower's, when it is durable (thesis §10.2.1).

use std::collections::VecDeque;

use super::{Entry, Envelope, HardState, Index, NodeId, Output, Raft, Snapshot, Term, Write};
use crate::trace::TraceEvent;

/// What is done when a write is durable.
#[derive(Debug)]
pub(super) enum Promise {
    /// Send a message that says what the write holds.
    Send(Envelope),
    /// Send a vote for `candidate`.
    Vote { term: Term, candidate: NodeId },
    /// Count this candidate's own vote and ask for the others.
    Campaign { term: Term },
    /// Tell that a snapshot is durable.
    Trace(TraceEvent),
}

/// The writes of one life.
#[derive(Debug)]
pub(super) struct Disk {
    /// The write that the present step builds up.
    building: Write,
    /// `seq` of the last write that was handed out.
    issued: u64,
    /// `seq` of the last write that is durable.
    persisted: u64,
    /// `seq` of the last write with term and vote.
    hard_state_seq: u64,
    /// The log is durable up to here.
    durable: Index,
    /// How far the log will be durable with the write of that `seq`.
    reaches: VecDeque<(u64, Index)>,
    promises: Vec<(u64, Promise)>,
}

impl Disk {
    /// A disk from which a log up to `durable` was read.
    pub(super) fn new(durable: Index) -> Self {
        Self {
            building: Write::default(),
            issued: 0,
            persisted: 0,
            hard_state_seq: 0,
            durable,
            reaches: VecDeque::new(),
            promises: Vec::new(),
        }
    }

    pub(super) fn durable(&self) -> Index {
        self.durable
    }

    /// The write that will hold the present term and vote.
    pub(super) fn hard_state_seq(&self) -> u64 {
        self.hard_state_seq
    }

    /// The write that will hold all that has happened so far.
    pub(super) fn latest_seq(&self) -> u64 {
        if self.is_building() { self.issued + 1 } else { self.issued }
    }

    pub(super) fn save(&mut self, hard_state: HardState) {
        self.building.hard_state = Some(hard_state);
        self.hard_state_seq = self.issued + 1;
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        self.building.entries.extend_from_slice(entries);
    }

    pub(super) fn truncate(&mut self, from: Index) {
        assert!(self.building.entries.is_empty(), "a step truncates before it appends");
        self.building.truncate_from = Some(from);
        self.forget_from(from);
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot, reset_log: bool) {
        assert!(self.building.entries.is_empty(), "a step with a snapshot appends nothing");
        if reset_log {
            self.forget_from(0);
        }
        self.building.reset_log = reset_log;
        self.building.snapshot = Some(snapshot);
    }

    /// What used to be there does not count as durable, whatever writes are still under way.
    fn forget_from(&mut self, from: Index) {
        let last = from.saturating_sub(1);
        self.durable = self.durable.min(last);
        for (_, index) in &mut self.reaches {
            *index = last.min(*index);
        }
    }

    fn is_building(&self) -> bool {
        self.building != Write::default()
    }

    /// The write of this step, if there is anything to write.
    pub(super) fn issue(&mut self) -> Option<Write> {
        if !self.is_building() {
            return None;
        }
        self.issued += 1;
        let mut write = std::mem::take(&mut self.building);
        write.seq = self.issued;
        let snapshot_index = write.snapshot.as_ref().map(|snapshot| snapshot.index);
        if let Some(index) = write.entries.last().map(|entry| entry.index).or(snapshot_index) {
            self.reaches.push_back((write.seq, index));
        }
        Some(write)
    }

    /// Writes up to `seq` are durable. Returns what may be promised now.
    fn persisted(&mut self, seq: u64) -> Vec<Promise> {
        assert!(seq <= self.issued, "only what was handed out becomes durable");
        self.persisted = self.persisted.max(seq);
        while let Some((_, index)) = self.reaches.pop_front_if(|(reached, _)| *reached <= seq) {
            self.durable = self.durable.max(index);
        }
        let due = self.promises.extract_if(.., |(due, _)| *due <= seq);
        due.map(|(_, promise)| promise).collect()
    }
}

impl Raft {
    /// Keeps a promise as soon as the write `seq` is durable.
    pub(super) fn promise(&mut self, seq: u64, promise: Promise) {
        if seq <= self.disk.persisted {
            self.keep(promise);
        } else {
            self.disk.promises.push((seq, promise));
        }
    }

    /// All writes up to `seq` are durable.
    pub(super) fn on_persisted(&mut self, seq: u64) {
        let durable_before = self.disk.durable();
        let due = self.disk.persisted(seq);
        let index = self.disk.durable();
        if index > durable_before
            && let Some(entry_term) = self.log.term(index)
        {
            self.trace(TraceEvent::Durable { index, entry_term });
        }
        for promise in due {
            self.keep(promise);
        }
        self.advance_commit();
    }

    fn keep(&mut self, promise: Promise) {
        match promise {
            // Nobody heeds an answer of a former term, and an old promise about a log that has changed since
            // should not be made at all.
            Promise::Send(envelope) if envelope.term == self.term => {
                self.outputs.push(Output::Send(envelope));
            }
            Promise::Vote { term, candidate } if term == self.term => self.send_vote(candidate),
            Promise::Campaign { term } if term == self.term => self.ask_for_votes(),
            Promise::Send(_) | Promise::Vote { .. } | Promise::Campaign { .. } => {}
            Promise::Trace(event) => self.trace(event),
        }
    }
}
