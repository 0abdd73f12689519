//! Planted bugs: mistakes that real Raft systems made, to be chosen by name.
//!
//! The rule: a bug is one file that overrides one decision of [`Rules`] (and, where two decisions are one
//! mistake, both), plus one line in [`BUGS`]. It does not enforce invariants, so that the checkers see its
//! harm instead of a node that stopped in time. What a bug is expected to break is data: the kill matrix
//! compares it with what was found.

use crate::rules::Rules;

mod accept_old_append;
mod ack_before_commit;
mod ack_before_sync;
mod ack_last_index;
mod change_before_commit;
mod clear_vote_on_step_down;
mod clock_in_apply;
mod commit_old_term;
mod commit_past_match;
mod double_count_votes;
mod forget_vote;
mod half_quorum;
mod install_old_snapshot;
mod learner_counts;
mod lease_after_transfer;
mod lease_from_reply;
mod long_lease;
mod members_not_rolled_back;
mod no_check_quorum;
mod no_fsync;
mod no_noop;
mod pre_vote_despite_leader;
mod raise_term_on_pre_vote;
mod read_before_commit;
mod removed_leader_counts_itself;
mod reuse_read_round;
mod serve_before_applied;
mod short_log_vote;
mod silent_pre_vote_refusal;
mod skip_prev_log_check;
mod stale_read;
mod transfer_to_laggard;
mod truncate_always;
mod two_changes_at_once;
mod unchecked_vote_term;
mod unsorted_quorum;

/// A planted deviation from the paper.
pub struct Bug {
    /// Its name on the command line.
    pub name: &'static str,
    /// What goes wrong, in one clause, with its id in the list of mistakes.
    pub about: &'static str,
    /// The checkers that are expected to catch it.
    pub breaks: &'static [&'static str],
    /// The faults that are expected to bring it out.
    pub exposed_by: &'static [&'static str],
    /// The rules with the deviation.
    pub rules: &'static dyn Rules,
}

/// Every planted bug, in the order shown by `harness list`.
pub const BUGS: &[&Bug] = &[
    &stale_read::BUG,
    &forget_vote::BUG,
    &ack_before_commit::BUG,
    &half_quorum::BUG,
    &skip_prev_log_check::BUG,
    &commit_past_match::BUG,
    &commit_old_term::BUG,
    &short_log_vote::BUG,
    &unchecked_vote_term::BUG,
    &double_count_votes::BUG,
    &truncate_always::BUG,
    &no_noop::BUG,
    &read_before_commit::BUG,
    &reuse_read_round::BUG,
    &serve_before_applied::BUG,
    &raise_term_on_pre_vote::BUG,
    &pre_vote_despite_leader::BUG,
    &silent_pre_vote_refusal::BUG,
    &no_check_quorum::BUG,
    &ack_before_sync::BUG,
    &no_fsync::BUG,
    &clock_in_apply::BUG,
    &clear_vote_on_step_down::BUG,
    &accept_old_append::BUG,
    &ack_last_index::BUG,
    &unsorted_quorum::BUG,
    &install_old_snapshot::BUG,
    &change_before_commit::BUG,
    &two_changes_at_once::BUG,
    &members_not_rolled_back::BUG,
    &removed_leader_counts_itself::BUG,
    &learner_counts::BUG,
    &transfer_to_laggard::BUG,
    &lease_from_reply::BUG,
    &lease_after_transfer::BUG,
    &long_lease::BUG,
];

/// The bug of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Bug> {
    BUGS.iter().copied().find(|bug| bug.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_is_described() {
        let names: BTreeSet<_> = BUGS.iter().map(|bug| bug.name).collect();
        assert_eq!(names.len(), BUGS.len(), "names are unique");
        for bug in BUGS {
            let fine = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(bug.name.chars().all(fine), "{} is not kebab-case", bug.name);
            assert!(
                !bug.about.is_empty() && !bug.breaks.is_empty() && !bug.exposed_by.is_empty(),
                "{}",
                bug.name
            );
            assert!(!bug.rules.enforces_invariants(), "{} would stop the node before it does harm", bug.name);
            assert!(find(bug.name).is_some());
        }
    }
}
