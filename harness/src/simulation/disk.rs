//! A simulated disk: what is durable, and what was written but not yet synced.

use std::collections::VecDeque;

use cluster_under_test::raft::{Recovered, Write};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// The disk of one node. It outlives the node's lives.
#[derive(Default)]
pub(super) struct Disk {
    durable: Recovered,
    /// Writes under way, and the tick at which each is durable. Later writes are never durable before earlier ones.
    pending: VecDeque<(u64, Write)>,
}

impl Disk {
    /// Takes a write that will be durable at `due`.
    pub(super) fn write(&mut self, write: Write, due: u64) {
        let due = self.pending.back().map_or(due, |(last, _)| due.max(*last));
        self.pending.push_back((due, write));
    }

    /// Makes durable what is due; the number of the last such write, if there is one.
    pub(super) fn sync(&mut self, now: u64) -> Option<u64> {
        let mut last = None;
        while let Some((_, write)) = self.pending.pop_front_if(|(due, _)| *due <= now) {
            last = Some(write.seq);
            store(&mut self.durable, write);
        }
        last
    }

    /// The node has crashed: a random part of what was not synced is lost, from the end. Of the write in the middle, some
    /// entries may have reached the disk; its term and vote, which come last, have not.
    pub(super) fn crash(&mut self, rng: &mut Pcg64Mcg) {
        let kept = rng.random_range(0..=self.pending.len());
        for (_, write) in self.pending.drain(..kept) {
            store(&mut self.durable, write);
        }
        if let Some((_, torn)) = self.pending.pop_front()
            && torn.snapshot.is_none()
            && torn.hard_state.is_none()
            && rng.random_bool(0.5)
        {
            let kept = rng.random_range(0..=torn.entries.len());
            let entries = torn.entries.into_iter().take(kept).collect();
            store(&mut self.durable, Write { entries, hard_state: None, ..torn });
        }
        self.pending.clear();
    }

    /// What a node finds when it starts.
    pub(super) fn recover(&self) -> Recovered {
        assert!(self.pending.is_empty(), "a node that was up has crashed before it starts again");
        self.durable.clone()
    }
}

fn store(durable: &mut Recovered, write: Write) {
    if let Some(snapshot) = write.snapshot {
        if write.reset_log {
            durable.entries.clear();
        } else {
            durable.entries.retain(|entry| entry.index > snapshot.index);
        }
        durable.snapshot = Some(snapshot);
    }
    if let Some(from) = write.truncate_from {
        durable.entries.retain(|entry| entry.index < from);
    }
    durable.entries.extend(write.entries);
    if let Some(hard_state) = write.hard_state {
        durable.hard_state = hard_state;
    }
}
