//! Each situation by two stories: one that reaches it, and one that nearly does.

use super::story::look;

/// Both stories of a situation; the first must reach it, and the second must not.
fn both(name: &str) {
    look(&format!("situations/{name}/reached.txt"));
    look(&format!("situations/{name}/near_miss.txt"));
}

#[test]
fn two_leaders() {
    both("two-leaders");
}

#[test]
fn isolated_leader_with_uncommitted_tail() {
    both("isolated-leader-with-uncommitted-tail");
}

#[test]
fn isolated_leader_returns() {
    both("isolated-leader-returns");
}

#[test]
fn paused_leader_returns() {
    both("paused-leader-returns");
}

#[test]
fn leader_killed_with_unacknowledged_writes() {
    both("leader-killed-with-unacknowledged-writes");
}

#[test]
fn leader_stepped_down() {
    both("leader-stepped-down");
}

#[test]
fn split_vote() {
    both("split-vote");
}

#[test]
fn leaderless_term() {
    both("leaderless-term");
}

#[test]
fn term_jump() {
    both("term-jump");
}

#[test]
fn candidate_killed() {
    both("candidate-killed");
}

#[test]
fn restart_after_vote() {
    both("restart-after-vote");
}

#[test]
fn campaign_under_bent_clock() {
    both("campaign-under-bent-clock");
}

#[test]
fn divergent_logs() {
    both("divergent-logs");
}

#[test]
fn tail_truncated() {
    both("tail-truncated");
}

#[test]
fn tail_survives() {
    both("tail-survives");
}

#[test]
fn figure_8_window() {
    both("figure-8-window");
}

#[test]
fn figure_8_overwritable() {
    both("figure-8-overwritable");
}

#[test]
fn crash_between_append_and_ack() {
    both("crash-between-append-and-ack");
}

#[test]
fn snapshot_installed() {
    both("snapshot-installed");
}

#[test]
fn snapshot_during_partition() {
    both("snapshot-during-partition");
}

#[test]
fn read_during_leader_change() {
    both("read-during-leader-change");
}

#[test]
fn answered_by_old_leader() {
    both("answered-by-old-leader");
}

#[test]
fn info_operation_took_effect() {
    both("info-operation-took-effect");
}

#[test]
fn quorum_lost() {
    both("quorum-lost");
}

#[test]
fn all_nodes_down() {
    both("all-nodes-down");
}

#[test]
fn overlapping_faults() {
    both("overlapping-faults");
}

#[test]
fn commit_indexes_differ() {
    both("commit-indexes-differ");
}

#[test]
fn pre_vote_refused() {
    both("pre-vote-refused");
}

#[test]
fn constrained_election() {
    both("constrained-election");
}

#[test]
fn restart_with_torn_tail() {
    both("restart-with-torn-tail");
}

#[test]
fn died_at_failpoint() {
    both("died-at-failpoint");
}

#[test]
fn lease_under_bent_clock() {
    both("lease-under-bent-clock");
}

#[test]
fn leader_removed_itself() {
    both("leader-removed-itself");
}

#[test]
fn change_during_partition() {
    both("change-during-partition");
}

#[test]
fn configuration_rolled_back() {
    both("configuration-rolled-back");
}

#[test]
fn transfer_completed() {
    both("transfer-completed");
}
