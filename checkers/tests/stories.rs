//! Stories with the finding beside them, one test each; the name of the test is the fact.

mod situations;
mod story;

use story::check;

mod append {
    use super::check;

    #[test]
    fn aborted_read() {
        check("append/aborted_read.txt");
    }

    #[test]
    fn all_in_order() {
        check("append/all_in_order.txt");
    }

    #[test]
    fn circular_flow() {
        check("append/circular_flow.txt");
    }

    #[test]
    fn duplicate_element() {
        check("append/duplicate_element.txt");
    }

    #[test]
    fn incompatible_order() {
        check("append/incompatible_order.txt");
    }

    #[test]
    fn intermediate_read() {
        check("append/intermediate_read.txt");
    }

    #[test]
    fn internal_inconsistency() {
        check("append/internal_inconsistency.txt");
    }

    #[test]
    fn long_cycle() {
        check("append/long_cycle.txt");
    }

    #[test]
    fn own_append_missed() {
        check("append/own_append_missed.txt");
    }

    #[test]
    fn read_skew() {
        check("append/read_skew.txt");
    }

    #[test]
    fn reordered_appends() {
        check("append/reordered_appends.txt");
    }

    #[test]
    fn repeated_elements() {
        check("append/repeated_elements.txt");
    }

    #[test]
    fn single_appends() {
        check("append/single_appends.txt");
    }

    #[test]
    fn single_appends_in_order() {
        check("append/single_appends_in_order.txt");
    }

    #[test]
    fn stale_but_sequential() {
        check("append/stale_but_sequential.txt");
    }

    #[test]
    fn stale_transaction() {
        check("append/stale_transaction.txt");
    }

    #[test]
    fn value_from_nowhere() {
        check("append/value_from_nowhere.txt");
    }

    #[test]
    fn write_cycle() {
        check("append/write_cycle.txt");
    }

    #[test]
    fn write_skew() {
        check("append/write_skew.txt");
    }
}

mod linearizable {
    use super::check;

    #[test]
    fn lost_write() {
        check("linearizable/lost_write.txt");
    }

    #[test]
    fn first_write_lost() {
        check("linearizable/first_write_lost.txt");
    }

    #[test]
    fn stale_read() {
        check("linearizable/stale_read.txt");
    }

    #[test]
    fn reads_go_back() {
        check("linearizable/reads_go_back.txt");
    }

    #[test]
    fn concurrent_reads() {
        check("linearizable/concurrent_reads.txt");
    }

    #[test]
    fn value_from_nowhere() {
        check("linearizable/value_from_nowhere.txt");
    }

    #[test]
    fn aborted_read() {
        check("linearizable/aborted_read.txt");
    }

    #[test]
    fn read_from_the_future() {
        check("linearizable/read_from_the_future.txt");
    }

    #[test]
    fn lost_swap() {
        check("linearizable/lost_swap.txt");
    }

    #[test]
    fn lost_update() {
        check("linearizable/lost_update.txt");
    }

    #[test]
    fn swapped_away() {
        check("linearizable/swapped_away.txt");
    }

    #[test]
    fn refused_for_no_reason() {
        check("linearizable/refused_for_no_reason.txt");
    }

    #[test]
    fn never_returned_but_seen() {
        check("linearizable/never_returned_but_seen.txt");
    }

    #[test]
    fn never_returned_seen_and_gone() {
        check("linearizable/never_returned_seen_and_gone.txt");
    }

    #[test]
    fn stale_read_of_few_values() {
        check("linearizable/stale_read_of_few_values.txt");
    }

    #[test]
    fn same_value_twice() {
        check("linearizable/same_value_twice.txt");
    }

    #[test]
    fn out_of_budget() {
        check("linearizable/out_of_budget.txt");
    }

    #[test]
    fn nothing_happened() {
        check("linearizable/nothing_happened.txt");
    }

    #[test]
    fn nothing_succeeded() {
        check("linearizable/nothing_succeeded.txt");
    }

    #[test]
    fn list_appends_in_order() {
        check("linearizable/list_appends_in_order.txt");
    }

    #[test]
    fn list_lost_append() {
        check("linearizable/list_lost_append.txt");
    }

    #[test]
    fn set_in_any_order() {
        check("linearizable/set_in_any_order.txt");
    }

    #[test]
    fn set_lost_element() {
        check("linearizable/set_lost_element.txt");
    }

    #[test]
    fn counter_between_adds() {
        check("linearizable/counter_between_adds.txt");
    }

    #[test]
    fn counter_lost_add() {
        check("linearizable/counter_lost_add.txt");
    }

    #[test]
    fn queue_first_in_first_out() {
        check("linearizable/queue_first_in_first_out.txt");
    }

    #[test]
    fn queue_element_twice() {
        check("linearizable/queue_element_twice.txt");
    }

    #[test]
    fn lock_handed_over() {
        check("linearizable/lock_handed_over.txt");
    }

    #[test]
    fn lock_held_by_two() {
        check("linearizable/lock_held_by_two.txt");
    }

    #[test]
    fn delete_and_write_again() {
        check("linearizable/delete_and_write_again.txt");
    }

    #[test]
    fn deleted_value_returns() {
        check("linearizable/deleted_value_returns.txt");
    }

    #[test]
    fn wrong_object() {
        check("linearizable/wrong_object.txt");
    }
}

mod election_safety {
    use super::check;

    #[test]
    fn one_leader_a_term() {
        check("election-safety/one_leader_a_term.txt");
    }

    #[test]
    fn elected_twice() {
        check("election-safety/elected_twice.txt");
    }

    #[test]
    fn two_leaders_in_a_term() {
        check("election-safety/two_leaders_in_a_term.txt");
    }

    #[test]
    fn nobody_led() {
        check("election-safety/nobody_led.txt");
    }

    #[test]
    fn silent_node() {
        check("election-safety/silent_node.txt");
    }

    #[test]
    fn no_traces() {
        check("election-safety/no_traces.txt");
    }
}

mod log_matching {
    use super::check;

    #[test]
    fn overwritten_tail() {
        check("log-matching/overwritten_tail.txt");
    }

    #[test]
    fn same_term_other_entry() {
        check("log-matching/same_term_other_entry.txt");
    }

    #[test]
    fn prev_log_check_skipped() {
        check("log-matching/prev_log_check_skipped.txt");
    }

    #[test]
    fn gap() {
        check("log-matching/gap.txt");
    }

    #[test]
    fn no_entries() {
        check("log-matching/no_entries.txt");
    }

    #[test]
    fn truncation_lost_in_a_crash() {
        check("log-matching/truncation_lost_in_a_crash.txt");
    }

    #[test]
    fn append_before_the_snapshot_is_durable() {
        check("log-matching/append_before_the_snapshot_is_durable.txt");
    }

    #[test]
    fn snapshot_replaces_the_log() {
        check("log-matching/snapshot_replaces_the_log.txt");
    }
}

mod state_machine_safety {
    use super::check;

    #[test]
    fn applied_alike() {
        check("state-machine-safety/applied_alike.txt");
    }

    #[test]
    fn two_entries_at_one_index() {
        check("state-machine-safety/two_entries_at_one_index.txt");
    }

    #[test]
    fn applied_twice() {
        check("state-machine-safety/applied_twice.txt");
    }
}

mod durable_votes {
    use super::check;

    #[test]
    fn kept() {
        check("durable-votes/kept.txt");
    }

    #[test]
    fn term_in_memory_only() {
        check("durable-votes/term_in_memory_only.txt");
    }

    #[test]
    fn vote_forgotten() {
        check("durable-votes/vote_forgotten.txt");
    }

    #[test]
    fn term_forgotten() {
        check("durable-votes/term_forgotten.txt");
    }

    #[test]
    fn two_votes() {
        check("durable-votes/two_votes.txt");
    }
}

mod membership {
    use super::check;

    #[test]
    fn one_at_a_time() {
        check("membership/one_at_a_time.txt");
    }

    #[test]
    fn two_at_once() {
        check("membership/two_at_once.txt");
    }

    #[test]
    fn two_voters() {
        check("membership/two_voters.txt");
    }

    #[test]
    fn before_a_commit_of_the_term() {
        check("membership/before_a_commit_of_the_term.txt");
    }

    #[test]
    fn kept_after_the_entry() {
        check("membership/kept_after_the_entry.txt");
    }
}

mod leader_completeness {
    use super::check;

    #[test]
    fn held() {
        check("leader-completeness/held.txt");
    }

    #[test]
    fn nothing_committed() {
        check("leader-completeness/nothing_committed.txt");
    }

    #[test]
    fn long_log_at_boot() {
        check("leader-completeness/long_log_at_boot.txt");
    }

    #[test]
    fn short_log_elected() {
        check("leader-completeness/short_log_elected.txt");
    }

    #[test]
    fn overwritten() {
        check("leader-completeness/overwritten.txt");
    }
}

mod recovery {
    use super::check;

    #[test]
    fn all_serve() {
        check("recovery/all_serve.txt");
    }

    #[test]
    fn one_node_silent() {
        check("recovery/one_node_silent.txt");
    }

    #[test]
    fn too_late() {
        check("recovery/too_late.txt");
    }

    #[test]
    fn slow_one_first() {
        check("recovery/slow_one_first.txt");
    }

    #[test]
    fn reads_only() {
        check("recovery/reads_only.txt");
    }

    #[test]
    fn cut_short() {
        check("recovery/cut_short.txt");
    }

    #[test]
    fn no_recovery_phase() {
        check("recovery/no_recovery_phase.txt");
    }
}

mod bounds {
    use super::check;

    #[test]
    fn within() {
        check("bounds/within.txt");
    }

    #[test]
    fn out_of_bounds() {
        check("bounds/out_of_bounds.txt");
    }

    #[test]
    fn not_reached() {
        check("bounds/not_reached.txt");
    }
}

mod crashes {
    use super::check;

    #[test]
    fn panic() {
        check("crashes/panic.txt");
    }

    #[test]
    fn disk_full() {
        check("crashes/disk_full.txt");
    }

    #[test]
    fn nobody_died() {
        check("crashes/nobody_died.txt");
    }

    #[test]
    fn a_node_may_stop_where_its_disk_refuses() {
        check("crashes/disk_refuses.txt");
    }

    #[test]
    fn the_disk_of_another_node_is_no_reason_to_stop() {
        check("crashes/disk_refuses_another.txt");
    }

    #[test]
    fn a_panic_is_a_crash_also_where_the_disk_refuses() {
        check("crashes/panic_under_a_refusing_disk.txt");
    }
}

mod coverage {
    use super::check;

    #[test]
    fn aim_missed() {
        check("coverage/aim_missed.txt");
    }

    #[test]
    fn aims_reached() {
        check("coverage/aims_reached.txt");
    }

    #[test]
    fn enough() {
        check("coverage/enough.txt");
    }

    #[test]
    fn heal_in_doubt() {
        check("coverage/heal_in_doubt.txt");
    }

    #[test]
    fn never_healed() {
        check("coverage/never_healed.txt");
    }

    #[test]
    fn lacking() {
        check("coverage/lacking.txt");
    }
}

mod leader_append_only {
    use super::check;

    #[test]
    fn appended() {
        check("leader-append-only/appended.txt");
    }

    #[test]
    fn deleted() {
        check("leader-append-only/deleted.txt");
    }

    #[test]
    fn nobody_led() {
        check("leader-append-only/nobody_led.txt");
    }

    #[test]
    fn overwritten() {
        check("leader-append-only/overwritten.txt");
    }

    #[test]
    fn replaced_by_a_snapshot() {
        check("leader-append-only/replaced_by_a_snapshot.txt");
    }
}

mod monotone {
    use super::check;

    #[test]
    fn commit_index_goes_back() {
        check("monotone/commit_index_goes_back.txt");
    }

    #[test]
    fn cut_before_the_crash() {
        check("monotone/cut_before_the_crash.txt");
    }

    #[test]
    fn durable_entries_lost() {
        check("monotone/durable_entries_lost.txt");
    }

    #[test]
    fn durable_snapshot_lost() {
        check("monotone/durable_snapshot_lost.txt");
    }

    #[test]
    fn forward() {
        check("monotone/forward.txt");
    }

    #[test]
    fn term_goes_back() {
        check("monotone/term_goes_back.txt");
    }
}

mod durable_commit {
    use super::check;

    #[test]
    fn acknowledged_in_memory() {
        check("durable-commit/acknowledged_in_memory.txt");
    }

    #[test]
    fn only_voters_count() {
        check("durable-commit/only_voters_count.txt");
    }

    #[test]
    fn fewer_voters_need_fewer_copies() {
        check("durable-commit/fewer_voters_need_fewer_copies.txt");
    }

    #[test]
    fn after_a_majority() {
        check("durable-commit/after_a_majority.txt");
    }

    #[test]
    fn entry_of_another_term() {
        check("durable-commit/entry_of_another_term.txt");
    }

    #[test]
    fn leader_counts_itself_late() {
        check("durable-commit/leader_counts_itself_late.txt");
    }

    #[test]
    fn nothing_durable() {
        check("durable-commit/nothing_durable.txt");
    }

    #[test]
    fn snapshot_stands_for_entries() {
        check("durable-commit/snapshot_stands_for_entries.txt");
    }
}

mod snapshot_matches_log {
    use super::check;

    #[test]
    fn agrees() {
        check("snapshot-matches-log/agrees.txt");
    }

    #[test]
    fn ahead_of_the_state() {
        check("snapshot-matches-log/ahead_of_the_state.txt");
    }

    #[test]
    fn another_term() {
        check("snapshot-matches-log/another_term.txt");
    }

    #[test]
    fn none_taken() {
        check("snapshot-matches-log/none_taken.txt");
    }

    #[test]
    fn snapshot_lost_data() {
        check("snapshot-matches-log/snapshot_lost_data.txt");
    }

    #[test]
    fn two_encodings() {
        check("snapshot-matches-log/two_encodings.txt");
    }
}

mod availability {
    use super::check;

    #[test]
    fn constrained_election() {
        check("availability/constrained_election.txt");
    }

    #[test]
    fn longer_than_the_bound() {
        check("availability/longer_than_the_bound.txt");
    }

    #[test]
    fn no_majority() {
        check("availability/no_majority.txt");
    }

    #[test]
    fn nobody_asked() {
        check("availability/nobody_asked.txt");
    }

    #[test]
    fn one_node_down_is_no_excuse() {
        check("availability/one_node_down_is_no_excuse.txt");
    }

    #[test]
    fn the_minority_side() {
        check("availability/the_minority_side.txt");
    }

    #[test]
    fn told_without_a_bound() {
        check("availability/told_without_a_bound.txt");
    }
}

mod sequential {
    use super::check;

    #[test]
    fn keys_contradict() {
        check("sequential/keys_contradict.txt");
    }

    #[test]
    fn lost_update() {
        check("sequential/lost_update.txt");
    }

    #[test]
    fn nothing_shown() {
        check("sequential/nothing_shown.txt");
    }

    #[test]
    fn out_of_budget() {
        check("sequential/out_of_budget.txt");
    }

    #[test]
    fn own_write_missed() {
        check("sequential/own_write_missed.txt");
    }

    #[test]
    fn queue_out_of_order() {
        check("sequential/queue_out_of_order.txt");
    }

    #[test]
    fn read_goes_back() {
        check("sequential/read_goes_back.txt");
    }

    #[test]
    fn repeated_values() {
        check("sequential/repeated_values.txt");
    }

    #[test]
    fn stale_read() {
        check("sequential/stale_read.txt");
    }

    #[test]
    fn swapped_value_returns() {
        check("sequential/swapped_value_returns.txt");
    }

    #[test]
    fn value_from_nowhere() {
        check("sequential/value_from_nowhere.txt");
    }

    #[test]
    fn wrong_object() {
        check("sequential/wrong_object.txt");
    }
}

mod staleness {
    use super::check;

    #[test]
    fn lost_update() {
        check("staleness/lost_update.txt");
    }

    #[test]
    fn nil_too_old() {
        check("staleness/nil_too_old.txt");
    }

    #[test]
    fn read_before_its_write() {
        check("staleness/read_before_its_write.txt");
    }

    #[test]
    fn repeated_values() {
        check("staleness/repeated_values.txt");
    }

    #[test]
    fn replaced_by_cas() {
        check("staleness/replaced_by_cas.txt");
    }

    #[test]
    fn shown_by_a_read() {
        check("staleness/shown_by_a_read.txt");
    }

    #[test]
    fn too_old() {
        check("staleness/too_old.txt");
    }

    #[test]
    fn value_from_nowhere() {
        check("staleness/value_from_nowhere.txt");
    }

    #[test]
    fn within_bound() {
        check("staleness/within_bound.txt");
    }
}
