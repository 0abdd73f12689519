//! Properties of drawn schedules.

use std::collections::BTreeSet;

use nemesis::faults::selection::{Choice, parse};
use nemesis::schedule::{DrawError, Schedule, draw};
use nemesis::target::Target;
use nemesis::trigger::Trigger;
use proptest::prelude::*;

fn selection() -> impl Strategy<Value = Vec<Choice>> {
    prop::sample::select(vec![
        "kill",
        "kill,pause,partition",
        "partitions",
        "all",
        "pause:n1,kill:minority",
        "none",
    ])
    .prop_map(|text| parse(text).expect("these exist"))
}

/// The least election timeout of the clusters here.
const ELECTION_MS: u64 = 1_000;

proptest! {
    #[test]
    fn a_schedule_keeps_its_promises(
        selection in selection(),
        limit_ms in 0_u64..120_000,
        nodes in 5_u16..8,
        seed in any::<u64>(),
    ) {
        let drawn = draw(&selection, limit_ms, nodes, ELECTION_MS, seed);
        prop_assert_eq!(&drawn, &draw(&selection, limit_ms, nodes, ELECTION_MS, seed), "the same seed, another schedule");
        match drawn {
            Ok(schedule) => keeps_its_promises(&schedule, &selection, limit_ms)?,
            Err(DrawError::TooShort { needs_ms, .. }) => {
                prop_assert!(limit_ms < needs_ms);
                prop_assert!(draw(&selection, needs_ms, nodes, ELECTION_MS, seed).is_ok(), "what it asks for is not enough");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

fn keeps_its_promises(schedule: &Schedule, selection: &[Choice], limit_ms: u64) -> Result<(), TestCaseError> {
    let mut free_from_ms = 0;
    for step in &schedule.steps {
        prop_assert!(step.at_ms >= free_from_ms + 1_000, "no quiet before {step:?}");
        prop_assert!((2_500..=3_600).contains(&step.duration_ms));
        prop_assert_eq!(step.trigger.is_some(), step.target.needs_leader());
        free_from_ms = step.end_ms();
    }
    prop_assert!(free_from_ms <= limit_ms);

    let chosen = selection.iter().map(|choice| choice.fault.as_str()).collect::<BTreeSet<_>>();
    let first = schedule.steps.iter().take(selection.len()).map(|step| step.fault.as_str());
    prop_assert_eq!(first.collect::<BTreeSet<_>>(), chosen, "every fault once before any comes again");
    for step in &schedule.steps {
        let choice =
            selection.iter().find(|choice| choice.fault == step.fault).expect("only what was asked for");
        prop_assert!(choice.target.as_ref().is_none_or(|target| *target == step.target));
    }
    Ok(())
}

#[test]
fn the_usual_faults_hit_the_leader_once_each() {
    let selection = parse("kill,pause,partition").expect("they exist");
    for seed in 0..100 {
        let schedule = draw(&selection, 30_000, 5, ELECTION_MS, seed).expect("30 s are enough");
        assert!(schedule.steps.len() >= 5, "30 s hold five rounds of at most 5.2 s");
        for step in &schedule.steps[..3] {
            assert_eq!(step.target, Target::Leader);
            assert_eq!(step.trigger, Some(Trigger::LEADER_KNOWN));
            assert!(step.duration_ms >= 2_600, "two election timeouts and one to spare");
        }
    }
}

#[test]
fn slower_elections_make_longer_faults() {
    let schedule = draw(&parse("kill").expect("it exists"), 60_000, 5, 3_000, 0).expect("long enough");
    assert!(schedule.steps.iter().all(|step| step.duration_ms >= 7_800));
}

#[test]
fn seeds_differ_and_targets_do_not_shift_times() {
    let times = |text: &str, seed| {
        let schedule =
            draw(&parse(text).expect("they exist"), 60_000, 5, ELECTION_MS, seed).expect("long enough");
        schedule.steps.iter().map(|step| (step.at_ms, step.duration_ms)).collect::<Vec<_>>()
    };
    assert_ne!(times("kill", 1), times("kill", 2));
    assert_eq!(times("kill", 1), times("kill:leader", 1));
}

#[test]
fn a_short_limit_shortens_faults_and_a_shorter_one_says_what_is_needed() {
    let selection = parse("kill,pause,partition").expect("they exist");
    let schedule = draw(&selection, 10_500, 5, ELECTION_MS, 0).expect("three times 1 s and 2.5 s");
    assert_eq!(schedule.steps.iter().map(|step| step.duration_ms).collect::<Vec<_>>(), [2_500; 3]);
    let error = draw(&selection, 10_499, 5, ELECTION_MS, 0).expect_err("too short");
    assert_eq!(
        error.to_string(),
        "3 faults need a time limit of at least 11 s, this one is 10.499 s; raise it or name fewer faults"
    );
}

#[test]
fn a_cluster_too_small_is_refused() {
    let refused = |text: &str, nodes| {
        draw(&parse(text).expect("it exists"), 60_000, nodes, ELECTION_MS, 0)
            .expect_err("too small")
            .to_string()
    };
    assert_eq!(refused("partition", 1), "partition: needs a cluster of at least 2 nodes; this one has 1");
    assert_eq!(
        refused("kill:n7", 5),
        "kill: target `n7` needs a cluster of at least 7 nodes; this one has 5"
    );
}

#[test]
fn a_small_cluster_gets_no_target_that_it_lacks() {
    for seed in 0..50 {
        let schedule =
            draw(&parse("kill").expect("it exists"), 60_000, 2, ELECTION_MS, seed).expect("long enough");
        assert!(schedule.steps.iter().all(|step| step.target != Target::Minority));
    }
}

#[test]
fn a_schedule_is_read_as_it_is_written() {
    let text = r#"{"steps":[{"at_ms":1830,"duration_ms":4210,"fault":"pause","target":"leader","trigger":{"when":"leader-known","within_ms":3000}},{"at_ms":9000,"duration_ms":3000,"fault":"kill","target":"n1+n2"}]}"#;
    let schedule = serde_json::from_str::<Schedule>(text).expect("this is the format");
    assert_eq!(serde_json::to_string(&schedule).expect("plain data"), text);
    let error =
        serde_json::from_str::<Schedule>(&text.replace("n1+n2", "n1+")).expect_err("a damaged target");
    assert!(error.to_string().starts_with("`n1+` is not a target"), "{error}");
}
