//! What a leader knows of one follower: how far its log matches, and what is under way to it.
//!
//! ```text
//!            matches                          conflict, or an answer is missing
//!   Probe ────────────▶ Replicate     Replicate ────────────▶ Probe
//!     │ the entries it needs are compacted
//!     └───────────────▶ Snapshot ────────────▶ Probe
//!                                  installed
//! ```
//!
//! In `Probe` one message is under way and is sent again with each heartbeat; in `Replicate` the next entries
//! are sent before the last ones are acknowledged (thesis §10.2.1), up to a bound.

use std::collections::VecDeque;

use super::Index;

/// A leader's view of one follower.
#[derive(Debug)]
pub(super) struct Progress {
    /// The follower's log matches, durably, up to here (`matchIndex`). Never goes down within a term, because
    /// what a follower has acknowledged to a leader it keeps.
    matched: Index,
    /// The next entry to send (`nextIndex`). Always behind `matched`.
    next: Index,
    mode: Mode,
    /// The last index of each unanswered message with entries.
    unanswered: VecDeque<Index>,
    /// The commit index in the last message.
    pub(super) commit_sent: Index,
    /// Has it answered since the last check of the quorum?
    pub(super) active: bool,
    /// The tick of its last answer.
    pub(super) heard_at: Option<u64>,
}

/// How the leader sends to the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Looking for the place where the logs meet.
    Probe,
    /// The logs meet; entries are streamed.
    Replicate,
    /// A snapshot is sent in chunks.
    Snapshot(Transfer),
}

/// A snapshot on its way, one unanswered chunk at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// The last index that the snapshot includes.
    pub(super) index: Index,
    /// Where the chunk that was sent last begins.
    pub(super) offset: u64,
    /// Heartbeats since then.
    pub(super) heartbeats: u32,
}

impl Progress {
    /// A follower of which nothing is known yet, under a leader whose log ends before `next` (§5.3).
    pub(super) fn new(next: Index) -> Self {
        assert!(next > 0, "log indexes begin at 1");
        Self {
            matched: 0,
            next,
            mode: Mode::Probe,
            unanswered: VecDeque::new(),
            commit_sent: 0,
            active: false,
            heard_at: None,
        }
    }

    pub(super) fn matched(&self) -> Index {
        self.matched
    }

    pub(super) fn next(&self) -> Index {
        self.next
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether another message with entries may be sent.
    pub(super) fn has_room(&self, pipeline_max: usize) -> bool {
        match self.mode {
            Mode::Probe => self.unanswered.is_empty(),
            Mode::Replicate => self.unanswered.len() < pipeline_max,
            Mode::Snapshot(_) => false,
        }
    }

    /// Entries up to `last` are on their way.
    pub(super) fn sent(&mut self, last: Index) {
        self.unanswered.push_back(last);
        if self.mode == Mode::Replicate {
            // Optimistic: if they are lost, the next heartbeat follows them and meets a conflict.
            self.next = last + 1;
        }
    }

    /// Takes it that what is unanswered is lost.
    pub(super) fn forget_unanswered(&mut self) {
        self.unanswered.clear();
    }

    /// The follower's log matches up to `index`. True if that is news.
    pub(super) fn match_to(&mut self, index: Index) -> bool {
        let news = index > self.matched;
        // A heartbeat that names no entry matches every log and ends no search.
        let found = news || index + 1 >= self.next;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        while self.unanswered.front().is_some_and(|&last| last <= index) {
            self.unanswered.pop_front();
        }
        match self.mode {
            Mode::Probe if found => {
                self.mode = Mode::Replicate;
                self.unanswered.clear();
            }
            Mode::Probe | Mode::Replicate | Mode::Snapshot(_) => {}
        }
        news
    }

    /// The follower has no entry like the leader's at `rejected`; it may have one at `hint - 1`.
    pub(super) fn back_up(&mut self, rejected: Index, hint: Index) {
        let stale = match self.mode {
            // An answer to a message that was sent before the last step back.
            Mode::Probe => rejected + 1 != self.next,
            Mode::Replicate => rejected <= self.matched,
            Mode::Snapshot(_) => true,
        };
        if stale || rejected <= self.matched {
            return;
        }
        self.next = hint.min(rejected).max(self.matched + 1);
        self.mode = Mode::Probe;
        self.unanswered.clear();
    }

    /// The entries it needs are gone: send the snapshot of `index` from its beginning.
    pub(super) fn begin_snapshot(&mut self, index: Index) {
        self.unanswered.clear();
        self.mode = Mode::Snapshot(Transfer { index, offset: 0, heartbeats: 0 });
    }

    /// The chunk at `offset` is on its way.
    pub(super) fn sent_chunk(&mut self, offset: u64) {
        if let Mode::Snapshot(transfer) = &mut self.mode {
            (transfer.offset, transfer.heartbeats) = (offset, 0);
        }
    }

    /// A heartbeat has gone by. True if the chunk under way should be sent again.
    pub(super) fn chunk_is_late(&mut self) -> bool {
        let Mode::Snapshot(transfer) = &mut self.mode else { return false };
        transfer.heartbeats += 1;
        transfer.heartbeats > 1
    }

    /// The snapshot of `index` is installed, so the log matches up to there.
    pub(super) fn installed(&mut self, index: Index) -> bool {
        if let Mode::Snapshot(_) = self.mode {
            self.mode = Mode::Probe;
            // What was optimistically sent before the transfer is not known to have arrived.
            self.next = self.matched + 1;
        }
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_at_zero_ends_no_search() {
        let mut progress = Progress::new(8);
        assert!(!progress.match_to(0));
        assert_eq!(progress.mode(), Mode::Probe);
        progress.match_to(7);
        assert_eq!(progress.mode(), Mode::Replicate);
    }

    fn replicating(matched: Index) -> Progress {
        let mut progress = Progress::new(1);
        progress.match_to(matched);
        progress
    }

    #[test]
    fn the_match_index_never_goes_down() {
        let mut progress = replicating(5);
        assert!(!progress.match_to(3), "an old answer is no news");
        progress.back_up(4, 2);
        assert_eq!((progress.matched(), progress.next(), progress.mode()), (5, 6, Mode::Replicate));
    }

    #[test]
    fn a_probe_sends_one_message_at_a_time() {
        let mut progress = Progress::new(8);
        assert!(progress.has_room(9));
        progress.sent(10);
        assert!(!progress.has_room(9));
        assert_eq!(progress.next(), 8, "nothing is known to have arrived");
        progress.back_up(7, 4);
        assert_eq!(progress.next(), 4);
        assert!(progress.has_room(9));
        progress.back_up(7, 2);
        assert_eq!(progress.next(), 4, "the same answer again says nothing new");
    }

    #[test]
    fn a_pipeline_is_bounded_and_answers_make_room() {
        let mut progress = replicating(0);
        for last in 1..=3 {
            assert!(progress.has_room(3));
            progress.sent(last);
        }
        assert!(!progress.has_room(3));
        assert_eq!(progress.next(), 4);
        assert!(progress.match_to(2), "one answer may stand for two messages");
        assert!(progress.has_room(2));
    }

    #[test]
    fn a_snapshot_ends_with_a_probe_behind_it() {
        let mut progress = Progress::new(3);
        progress.begin_snapshot(20);
        assert!(!progress.match_to(0), "a heartbeat at 0 does not end the transfer");
        assert!(matches!(progress.mode(), Mode::Snapshot(_)));
        assert!(progress.installed(20));
        assert_eq!((progress.matched(), progress.next(), progress.mode()), (20, 21, Mode::Probe));
    }
}
