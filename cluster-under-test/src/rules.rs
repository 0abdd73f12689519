//! The decisions that Raft's safety and liveness rest on, each with a name.
//!
//! The protocol in [`crate::raft`] asks a [`Rules`] wherever the paper says "must". The defaults are the
//! paper's, so [`Paper`] is an empty implementation. A planted bug ([`crate::bugs`]) overrides one of them
//! and leaves the rest of the code as it is: what is tested is the same protocol, with one decision taken
//! differently.
//!
//! The paper is "In Search of an Understandable Consensus Algorithm (Extended Version)" (Ongaro, Ousterhout
//! 2014), cited by section (§5.1) and figure; the thesis is "Consensus: Bridging Theory and Practice" (Ongaro
//! 2014).

use crate::raft::{Index, NodeId, Term};

/// Raft as published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paper;

impl Rules for Paper {}

/// The end of a log, as elections compare it: term first, then index (§5.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    /// Term of the last entry.
    pub term: Term,
    /// Index of the last entry.
    pub index: Index,
}

/// The named decisions. Every default is what the paper prescribes; each says what breaks without it.
pub trait Rules: Sync {
    /// Whether `votes` out of `voters` decide an election, a commit, a read, or that a leader still leads.
    ///
    /// Any two majorities share a node, and that node carries the knowledge of the first into the second
    /// (§5.2, §5.4.3). Smaller quorums elect two leaders in one term.
    fn is_quorum(&self, votes: usize, voters: usize) -> bool {
        2 * votes > voters
    }

    /// Whether a broken invariant ends the node.
    ///
    /// The paper's rules keep every invariant, so a broken one is a defect of this code and must not do harm.
    /// A planted bug breaks them on purpose: dying at the first would hide the harm from the checkers.
    fn enforces_invariants(&self) -> bool {
        true
    }

    // Elections.

    /// Whether a node that gave `vote` in this term may vote for `candidate`.
    ///
    /// One vote per term makes two leaders in a term impossible (§5.2); repeating the same vote answers a
    /// candidate whose request arrived twice.
    fn may_vote(&self, vote: Option<NodeId>, candidate: NodeId) -> bool {
        vote.is_none_or(|given| given == candidate)
    }

    /// Whether the vote is written to disk, before it is sent or counted (Figure 2, persistent state).
    ///
    /// A voter that forgets its vote in a restart votes again in the same term: two leaders.
    fn persists_vote(&self) -> bool {
        true
    }

    /// Whether a node that steps down without a new term still knows whom it voted for in this one.
    ///
    /// A candidate that sees the winner of its own term becomes a follower (§5.2) but has voted, for itself.
    fn keeps_vote_on_step_down(&self) -> bool {
        true
    }

    /// Whether a log that ends at `candidate` is at least as up-to-date as one that ends at `voter` (§5.4.1).
    ///
    /// Every committed entry is on some voter of every majority, and that voter refuses whoever lacks it.
    /// Without this a new leader overwrites what was promised.
    fn is_up_to_date(&self, candidate: LogEnd, voter: LogEnd) -> bool {
        candidate >= voter
    }

    /// Whether a vote counts only in the term in which it was given (§5.1: stale terms are rejected).
    ///
    /// A late grant of an older term is no vote in this one.
    fn checks_term_of_votes(&self) -> bool {
        true
    }

    /// Whether a voter counts once, however often its answer arrives.
    ///
    /// Networks repeat messages; counted twice, two voters make a majority of five with their candidate, and
    /// more.
    fn counts_voter_once(&self) -> bool {
        true
    }

    // PreVote and CheckQuorum.

    /// Whether a `PreVote` leaves the asked node's term alone (thesis §9.6).
    ///
    /// That is its whole purpose: an isolated node that comes back must not depose a leader by its term.
    fn pre_vote_keeps_term(&self) -> bool {
        true
    }

    /// Whether a node refuses a `PreVote` while it hears from a leader (thesis §9.6).
    ///
    /// Otherwise a node that sends but does not receive (a one-way cut) deposes one working leader after
    /// another.
    fn refuses_pre_vote_despite_leader(&self) -> bool {
        true
    }

    /// Whether a `PreVote` of a term that has passed is answered, with the newer term.
    ///
    /// Thesis §9.6 leaves the answer to the reader, and some systems left it out: a node with the better log
    /// and the older term never learns the newer one, is refused for ever, and no one else can win.
    fn answers_stale_pre_vote(&self) -> bool {
        true
    }

    /// Whether a leader that hears from no majority for an election timeout steps down (thesis §6.2).
    ///
    /// Otherwise a leader that sends but does not receive keeps its followers from electing one that works.
    fn leader_checks_quorum(&self) -> bool {
        true
    }

    // Replication.

    /// Whether an `Append` of a former leader is turned away (Figure 2, AppendEntries step 1).
    ///
    /// Its entries may have been overwritten by a newer leader and would overwrite that one's in turn.
    fn rejects_old_leader(&self) -> bool {
        true
    }

    /// Whether a follower whose entry at `prev_index` has term `own` may append what follows an entry of term
    /// `prev` (Figure 2, AppendEntries step 2); `None` when it has no such entry.
    ///
    /// This is the induction step of log matching (§5.3): same index and term, same log up to there.
    fn prev_log_matches(&self, own: Option<Term>, prev: Term) -> bool {
        own == Some(prev)
    }

    /// Whether entries are removed only from the first one that conflicts (Figure 2, AppendEntries step 3).
    ///
    /// An `Append` that was delayed says nothing about the entries after it. Removing those takes back what
    /// was acknowledged.
    fn truncates_only_at_conflict(&self) -> bool {
        true
    }

    /// How far a follower may say that its log matches the leader's, after an `Append` that was checked up to
    /// `checked` (previous index plus number of entries) and with a log that ends at `last`.
    ///
    /// What lies behind `checked` may be the tail of a former leader.
    fn match_index(&self, checked: Index, last: Index) -> Index {
        let _ = last;
        checked
    }

    /// Whether entries are durable before a follower acknowledges them (Figure 2, persistent state).
    ///
    /// A majority of acknowledgements is a promise; a power loss must not take it back.
    fn syncs_before_ack(&self) -> bool {
        true
    }

    /// Whether what is written to the log is synced at all (Figure 2, persistent state).
    ///
    /// A written page lives in the kernel's cache: it survives the node, but not the machine.
    fn syncs_writes(&self) -> bool {
        true
    }

    // Commit.

    /// The highest index that a quorum has, given how far each member's log matches (Figure 2, leaders).
    fn quorum_index(&self, matched: &[Index]) -> Index {
        let mut descending = matched.to_vec();
        descending.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = (1..=descending.len()).find(|&votes| self.is_quorum(votes, descending.len()));
        quorum.map_or(0, |votes| descending[votes - 1])
    }

    /// Whether only entries of the leader's own term are committed by counting copies (§5.4.2).
    ///
    /// An older entry on a majority can still be overwritten by a leader that has a newer last term: Figure
    /// 8.
    fn commits_only_current_term(&self) -> bool {
        true
    }

    /// The commit index of a follower after an `Append` that was checked up to `checked`, from a leader whose
    /// commit index is `leader`; the follower's log ends at `last` (Figure 2, AppendEntries step 5).
    ///
    /// Entries behind `checked` are not known to be the leader's, so its commit index says nothing about
    /// them.
    fn follower_commit(&self, leader: Index, checked: Index, last: Index) -> Index {
        let _ = last;
        leader.min(checked)
    }

    /// Whether a new leader begins its term with an empty entry (§8).
    ///
    /// Without one it cannot commit what former leaders left until a client writes, nor know what is
    /// committed.
    fn appends_noop(&self) -> bool {
        true
    }

    /// Whether a client hears of success only when its command is committed and applied (§5.3, §8).
    ///
    /// An entry in the leader's log alone is lost with that leader.
    fn answers_after_commit(&self) -> bool {
        true
    }

    // Membership.

    /// Whether a change of the configuration waits until the leader has committed an entry of its term.
    ///
    /// Thesis §4.1 lacked this. Two leaders in a row could each append a change to the same configuration; the
    /// majorities of the two outcomes need not meet (found by Ongaro in 2015).
    fn changes_wait_for_commit_of_term(&self) -> bool {
        true
    }

    /// Whether a change waits until the one before it is committed (thesis §4.1).
    ///
    /// Only configurations that differ by one voter have majorities that always meet.
    fn changes_one_at_a_time(&self) -> bool {
        true
    }

    /// Whether cutting a configuration off the log brings the one before it back (thesis §4.1).
    ///
    /// Otherwise a node counts by members that nobody else knows.
    fn truncation_restores_members(&self) -> bool {
        true
    }

    /// Whether a leader that is no voter in its latest configuration counts itself and stays (thesis §4.2.2: it does
    /// not count itself, and steps down when its removal is committed).
    fn counts_itself_when_removed(&self) -> bool {
        false
    }

    /// Whether the copies of learners count towards a commit (thesis §4.2.1: they do not).
    fn counts_learners(&self) -> bool {
        false
    }

    /// Whether the target of a transfer has the leader's whole log before it is told to campaign (thesis §3.10).
    ///
    /// Otherwise it loses the election, and the cluster the time.
    fn transfer_waits_for_catch_up(&self) -> bool {
        true
    }

    // Leases (thesis §6.4.1).

    /// Whether a lease counts from when the message was sent that a majority answered.
    ///
    /// The follower's promise counts from when it heard; an answer may be under way for as long as it likes.
    fn lease_begins_at_send(&self) -> bool {
        true
    }

    /// Whether a transfer of leadership ends the lease: its campaign does not wait for the voters' promise.
    fn transfer_ends_lease(&self) -> bool {
        true
    }

    /// How long a lease lasts of which the configuration allows `granted_ms`: less than the least election timeout.
    fn lease_ms(&self, granted_ms: u64) -> u64 {
        granted_ms
    }

    // Reads.

    /// Whether a leader asks a majority, after the read arrived, if it still leads (§8, thesis §6.4 step 3).
    ///
    /// A leader that was replaced without knowing it serves the state of yesterday.
    fn confirms_leadership_for_reads(&self) -> bool {
        true
    }

    /// Whether reads wait until the leader has committed an entry of its term (§8, thesis §6.4 step 1).
    ///
    /// Before that its commit index may lie behind what the former leader acknowledged.
    fn reads_wait_for_commit_of_term(&self) -> bool {
        true
    }

    /// Whether each round of confirmation serves only the reads that arrived before it began (thesis §6.4).
    ///
    /// An answer under way when a read arrives was given before it, and proves nothing about its time.
    fn reads_begin_new_round(&self) -> bool {
        true
    }

    /// Whether a read is served only when the state machine has reached its index (thesis §6.4 step 4).
    fn reads_wait_for_apply(&self) -> bool {
        true
    }

    // Snapshots and the state machine.

    /// Whether a follower leaves its state alone when it is sent a snapshot of what it has committed already.
    ///
    /// A delayed or repeated snapshot (§7) would take state and log back to an older time.
    fn keeps_newer_state(&self) -> bool {
        true
    }

    /// What a node mixes into the state that it applies. The paper's state machines are deterministic (§2):
    /// nothing of the node, its clock or its memory may enter, so this is 0.
    fn state_salt(&self, node: NodeId) -> u64 {
        let _ = node;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_more_than_half() {
        for voters in 1..=9 {
            for votes in 0..=voters {
                assert_eq!(Paper.is_quorum(votes, voters), votes > voters / 2, "{votes} of {voters}");
            }
        }
    }

    #[test]
    fn a_later_term_beats_a_longer_log() {
        let end = |term, index| LogEnd { term, index };
        assert!(Paper.is_up_to_date(end(2, 1), end(1, 9)));
        assert!(!Paper.is_up_to_date(end(1, 9), end(2, 1)));
        assert!(Paper.is_up_to_date(end(2, 5), end(2, 5)));
        assert!(!Paper.is_up_to_date(end(2, 4), end(2, 5)));
    }

    /// Every list of match indexes of one to five members, against counting for each index who has it.
    #[test]
    fn the_quorum_index_is_the_highest_that_a_majority_has() {
        for members in 1..=5_u32 {
            for code in 0..4_u64.pow(members) {
                let matched: Vec<Index> = (0..members).map(|i| code / 4_u64.pow(i) % 4).collect();
                let has = |index| matched.iter().filter(|&&own| own >= index).count();
                let counted = (0..4).rev().find(|&index| Paper.is_quorum(has(index), matched.len()));
                assert_eq!(Some(Paper.quorum_index(&matched)), counted, "{matched:?}");
            }
        }
    }
}
