//! Snapshots: forgetting the log that a state stands for, and sending that state to whoever lags behind it
//! (§7).
//!
//! The shell encodes the state machine now and then; the log up to there is compacted, except for some
//! entries that spare a slow follower the snapshot. A follower that needs what is gone gets the snapshot in
//! chunks (Figure 13), one at a time. It answers with the offset that it wants next, so that a lost chunk
//! costs one chunk; a newer snapshot of the leader, or another leader, starts again at 0.
//!
//! A snapshot never takes a node back: what it has committed is at least as new as any snapshot up to there.

use super::durability::Promise;
use super::membership::Configurations;
use super::progress::Mode;
use super::{Index, Members, Message, NodeId, Output, Raft, Snapshot, State};
use crate::rules::LogEnd;
use crate::trace::{Digest, SnapshotOrigin, TraceEvent};

/// A part of a snapshot on the wire.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The configuration at the end of the snapshot, the same in all chunks.
    pub(super) members: Members,
    pub(super) offset: u64,
    pub(super) data: Vec<u8>,
    pub(super) done: bool,
}

/// A snapshot of which some chunks have arrived.
#[derive(Debug)]
pub(super) struct Incoming {
    end: LogEnd,
    data: Vec<u8>,
}

/// At home.
impl Raft {
    /// The shell has encoded the state as of `index`.
    pub(super) fn on_snapshot_taken(&mut self, index: Index, data: Vec<u8>) {
        self.invariant(index <= self.applied, "a snapshot holds only what was applied");
        // A newer one may have been installed while this one was encoded.
        if index <= self.snapshot_index() {
            return;
        }
        let Some(term) = self.log.term(index) else {
            self.invariant(false, "what follows the last snapshot is in the log");
            return;
        };
        let snapshot = Snapshot { index, term, members: self.configurations.at(index).clone(), data };
        self.store(&snapshot, SnapshotOrigin::Taken, false);
        let kept_from = index.saturating_sub(self.config.entries_kept);
        self.log.compact(kept_from);
        self.configurations.compact(kept_from);
        self.snapshot = Some(snapshot);
    }

    /// Writes a snapshot with this step and says so when it is durable.
    fn store(&mut self, snapshot: &Snapshot, origin: SnapshotOrigin, reset_log: bool) {
        self.disk.snapshot(snapshot.clone(), reset_log);
        let event = TraceEvent::Snapshot {
            index: snapshot.index,
            entry_term: snapshot.term,
            origin,
            data: Digest::of_bytes(&snapshot.data),
        };
        self.promise(self.disk.latest_seq(), Promise::Trace(event));
    }
}

/// The leader's side.
impl Raft {
    /// The entries that a follower needs are gone.
    pub(super) fn begin_snapshot(&mut self, to: NodeId) {
        let index = self.snapshot_index();
        self.invariant(index >= self.log.base().index, "what is compacted is in a snapshot");
        let State::Leader(leader) = &mut self.state else { return };
        leader.progress.get_mut(&to).expect("there is a progress for every peer").begin_snapshot(index);
        self.trace(TraceEvent::SnapshotSent { index, to });
        self.send_chunk(to, 0);
    }

    pub(super) fn send_chunk(&mut self, to: NodeId, offset: u64) {
        let Some(snapshot) = &self.snapshot else { return };
        let State::Leader(leader) = &mut self.state else { return };
        let progress = leader.progress.get_mut(&to).expect("there is a progress for every peer");
        let Mode::Snapshot(transfer) = progress.mode() else { return };
        let mut offset = offset.min(snapshot.data.len() as u64);
        if transfer.index != snapshot.index {
            progress.begin_snapshot(snapshot.index);
            offset = 0;
        }
        progress.sent_chunk(offset);
        let begin = usize::try_from(offset).expect("a snapshot fits into memory");
        let end = snapshot.data.len().min(begin + self.config.snapshot_chunk_bytes);
        let message = Message::InstallSnapshot {
            index: snapshot.index,
            last_term: snapshot.term,
            members: snapshot.members.clone(),
            offset,
            data: snapshot.data[begin..end].to_vec(),
            done: end == snapshot.data.len(),
            round: leader.rounds.latest(),
        };
        self.send(to, message);
    }

    pub(super) fn on_snapshot_reply(
        &mut self,
        from: NodeId,
        index: Index,
        next_offset: u64,
        installed: bool,
        round: u64,
    ) {
        let last_index = self.log.last_index();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.active = true;
        progress.heard_at = Some(self.now);
        if installed {
            progress.installed(index.min(last_index));
            self.advance_commit();
            self.send_news(from);
        } else if let Mode::Snapshot(transfer) = progress.mode()
            && transfer.index == index
            // An answer that came twice must not make two streams of chunks.
            && transfer.offset != next_offset
        {
            self.send_chunk(from, next_offset);
        }
        self.on_round_echo(from, round);
    }
}

/// The follower's side.
impl Raft {
    /// A chunk of the leader's snapshot, which ends at `end`.
    pub(super) fn on_install_snapshot(&mut self, from: NodeId, end: LogEnd, chunk: Chunk, round: u64) {
        let index = end.index;
        if index <= self.commit && self.rules.keeps_newer_state() {
            self.incoming = None;
            self.reply_installed(from, index, round);
            return;
        }
        let incoming = match self.incoming.take() {
            Some(incoming) if incoming.end == end => incoming,
            Some(_) | None => Incoming { end, data: Vec::new() },
        };
        let wanted = incoming.data.len() as u64;
        let incoming = self.incoming.insert(incoming);
        if chunk.offset == wanted {
            incoming.data.extend_from_slice(&chunk.data);
            if chunk.done {
                let data = std::mem::take(&mut incoming.data);
                self.incoming = None;
                self.install(Snapshot { index, term: end.term, members: chunk.members, data });
                self.reply_installed(from, index, round);
                return;
            }
        }
        let next_offset = incoming.data.len() as u64;
        self.send(from, Message::SnapshotReply { index, next_offset, installed: false, round });
    }

    /// Replaces state and log (Figure 13, steps 6 to 8).
    fn install(&mut self, snapshot: Snapshot) {
        let end = LogEnd { term: snapshot.term, index: snapshot.index };
        let follows = self.log.term(end.index) == Some(end.term);
        if follows {
            // The log goes on behind the snapshot and keeps what it has there.
            self.store(&snapshot, SnapshotOrigin::Installed, false);
            self.log.compact(end.index);
        } else {
            let from_index = self.commit.min(end.index) + 1;
            if from_index <= self.log.last_index() {
                self.trace(TraceEvent::Truncate { from_index });
            }
            self.store(&snapshot, SnapshotOrigin::Installed, true);
            self.log.reset(end);
            self.configurations = Configurations::new(end.index, snapshot.members.clone());
            self.members_changed();
        }
        self.invariant(end.index > self.commit, "a snapshot never takes a node back");
        let before = self.commit;
        (self.commit, self.applied) = (end.index, end.index);
        self.trace(TraceEvent::Commit { term: self.term, index: end.index, entry_term: end.term });
        self.note_committed_members(before);
        self.configurations.compact(end.index);
        self.outputs.push(Output::Restore(snapshot.clone()));
        self.snapshot = Some(snapshot);
        self.serve_reads_that_waited();
    }

    fn reply_installed(&mut self, to: NodeId, index: Index, round: u64) {
        let durable = self.disk.durable() >= index;
        let seq = if durable { self.disk.hard_state_seq() } else { self.disk.latest_seq() };
        let reply = Message::SnapshotReply { index, next_offset: 0, installed: true, round };
        self.promise(seq, Promise::Send(self.envelope(to, reply)));
    }
}
