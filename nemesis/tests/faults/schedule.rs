//! Properties of drawn schedules.

use std::collections::BTreeSet;

use nemesis::draw::{DrawError, Wish, draw};
use nemesis::faults;
use nemesis::faults::selection::{Choice, parse};
use nemesis::schedule::{Schedule, Step};
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

/// One fault at a time, for five nodes.
fn alone(faults: &[Choice], time_limit_ms: u64) -> Wish<'_> {
    let (nodes, election_ms) = (5, ELECTION_MS);
    Wish { faults, mix: false, time_limit_ms, nodes, election_ms, overlap: 1, beyond_quorum: false }
}

proptest! {
    #[test]
    fn a_schedule_keeps_its_promises(
        selection in selection(),
        time_limit_ms in 0_u64..120_000,
        nodes in 5_u16..8,
        overlap in 1_usize..5,
        seed in any::<u64>(),
    ) {
        let wish = Wish { nodes, overlap, ..alone(&selection, time_limit_ms) };
        let drawn = draw(&wish, seed);
        prop_assert_eq!(&drawn, &draw(&wish, seed), "the same seed, another schedule");
        match drawn {
            Ok(schedule) => keeps_its_promises(&schedule, &wish)?,
            Err(DrawError::TooShort { needs_ms, .. }) => {
                prop_assert!(time_limit_ms < needs_ms);
                let enough = Wish { time_limit_ms: needs_ms, ..wish };
                prop_assert!(draw(&enough, seed).is_ok(), "what it asks for is not enough");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn a_mix_fits_any_time_that_one_fault_fits(
        time_limit_ms in 3_500_u64..60_000,
        nodes in 1_u16..8,
        seed in any::<u64>(),
    ) {
        let all = parse("all").expect("a group");
        let wish = Wish { mix: true, nodes, overlap: 3, ..alone(&all, time_limit_ms) };
        let schedule = draw(&wish, seed).expect("a mix leaves out what does not fit");
        prop_assert!(!schedule.steps.is_empty());
        prop_assert!(schedule.steps.iter().all(|step| step.end_ms() <= time_limit_ms));
        survives(&schedule.steps, usize::from(nodes))?;
    }
}

fn keeps_its_promises(schedule: &Schedule, wish: &Wish<'_>) -> Result<(), TestCaseError> {
    let steps = &schedule.steps;
    prop_assert!(steps.is_sorted_by_key(|step| step.at_ms));
    let mut free_from_ms = 0;
    for (index, step) in steps.iter().enumerate() {
        let is_alone = step.at_ms >= free_from_ms;
        if is_alone {
            prop_assert!(step.at_ms >= free_from_ms + 1_000, "no quiet before {step:?}");
            prop_assert!((2_500..=3_600).contains(&step.duration_ms));
        }
        let first_time = steps[..index].iter().all(|before| before.fault != step.fault);
        prop_assert!(is_alone || !first_time, "{step:?} comes for the first time, and not alone");
        prop_assert_eq!(step.trigger.is_some(), step.target.needs_leader());
        free_from_ms = step.end_ms().max(free_from_ms);
        let at_once = steps.iter().filter(|other| (other.at_ms..other.end_ms()).contains(&step.at_ms));
        prop_assert!(at_once.count() <= wish.overlap);
    }
    prop_assert!(free_from_ms <= wish.time_limit_ms);
    survives(steps, usize::from(wish.nodes))?;

    let chosen = wish.faults.iter().map(|choice| choice.fault.as_str()).collect::<BTreeSet<_>>();
    let first = steps.iter().take(chosen.len()).map(|step| step.fault.as_str());
    prop_assert_eq!(first.collect::<BTreeSet<_>>(), chosen, "every fault once before any comes again");
    for step in steps {
        let choice = wish.faults.iter().find(|choice| choice.fault == step.fault);
        let asked = &choice.expect("only what was asked for").target;
        prop_assert!(asked.as_ref().is_none_or(|target| *target == step.target));
    }
    Ok(())
}

/// Faults that overlap leave a quorum alone, whoever the targets turn out to be.
fn survives(steps: &[Step], size: usize) -> Result<(), TestCaseError> {
    let hurts =
        |step: &Step, targets: usize| faults::find(&step.fault).expect("it exists").hurts(size, targets);
    for step in steps {
        let at_once = steps.iter().filter(|other| (other.at_ms..other.end_ms()).contains(&step.at_ms));
        let at_once = at_once.collect::<Vec<_>>();
        if at_once.len() < 2 {
            continue;
        }
        let hurt = at_once.iter().map(|step| match &step.target {
            Target::Step(number) => {
                let same = steps[number - 1].target.count(size);
                // They are hurt already; another fault on them may still hurt more than them.
                hurts(step, same).saturating_sub(same)
            }
            target => hurts(step, target.count(size)),
        });
        prop_assert!(hurt.sum::<usize>() <= (size - 1) / 2, "{at_once:?}");
    }
    Ok(())
}

#[test]
fn faults_overlap_now_and_then_and_beyond_a_quorum_only_when_asked() {
    let selection = parse("kill,pause,partition").expect("they exist");
    let company = |wish: &Wish<'_>| {
        let overlaps = |seed| {
            let steps = draw(wish, seed).expect("long enough").steps;
            let pairs = steps.windows(2).filter(|pair| pair[1].at_ms < pair[0].end_ms());
            pairs.map(|pair| pair[1].target.clone()).collect::<Vec<_>>()
        };
        (0..200).flat_map(overlaps).collect::<Vec<_>>()
    };
    let usual = Wish { overlap: 2, ..alone(&selection, 60_000) };
    let some = company(&usual);
    assert!((200..1_000).contains(&some.len()), "{} in 200 schedules of about 8 free rounds", some.len());
    assert!(company(&Wish { overlap: 1, ..usual }).is_empty());
    let three = company(&Wish { nodes: 3, ..usual });
    let is_same = |target: &Target| matches!(target, Target::Step(_));
    assert!(!three.is_empty() && three.iter().all(is_same), "of three nodes only one may be hurt: {three:?}");
    assert!(!some.iter().all(is_same));
    assert!(company(&Wish { beyond_quorum: true, ..usual }).len() > some.len());
}

#[test]
fn mixes_differ_in_what_they_leave_out() {
    let all = parse("all").expect("a group");
    let kinds = |seed| {
        let steps = draw(&Wish { mix: true, ..alone(&all, 60_000) }, seed).expect("long enough").steps;
        steps.into_iter().map(|step| step.fault).collect::<BTreeSet<_>>()
    };
    let mixes = (0..50).map(kinds).collect::<BTreeSet<_>>();
    assert!(mixes.len() > 25, "{} different mixes in 50", mixes.len());
    let seen = mixes.into_iter().flatten().collect::<BTreeSet<_>>();
    assert_eq!(seen.len(), all.len(), "each is in some of them");
}

#[test]
fn the_usual_faults_hit_the_leader_once_each() {
    let selection = parse("kill,pause,partition").expect("they exist");
    for seed in 0..100 {
        let schedule =
            draw(&Wish { overlap: 2, ..alone(&selection, 30_000) }, seed).expect("30 s are enough");
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
    let schedule = draw(&Wish { election_ms: 3_000, ..alone(&parse("kill").expect("it exists"), 60_000) }, 0)
        .expect("long enough");
    assert!(schedule.steps.iter().all(|step| step.duration_ms >= 7_800));
}

#[test]
fn seeds_differ_and_targets_do_not_shift_times() {
    let times = |text: &str, seed| {
        let schedule = draw(&alone(&parse(text).expect("they exist"), 60_000), seed).expect("long enough");
        schedule.steps.iter().map(|step| (step.at_ms, step.duration_ms)).collect::<Vec<_>>()
    };
    assert_ne!(times("kill", 1), times("kill", 2));
    assert_eq!(times("kill", 1), times("kill:leader", 1));
}

#[test]
fn a_short_limit_shortens_faults_and_a_shorter_one_says_what_is_needed() {
    let selection = parse("kill,pause,partition").expect("they exist");
    let schedule = draw(&alone(&selection, 10_500), 0).expect("three times 1 s and 2.5 s");
    assert_eq!(schedule.steps.iter().map(|step| step.duration_ms).collect::<Vec<_>>(), [2_500; 3]);
    let error = draw(&alone(&selection, 10_499), 0).expect_err("too short");
    assert_eq!(
        error.to_string(),
        "3 faults need a time limit of at least 11 s, this one is 10.499 s; raise it or name fewer faults"
    );
}

#[test]
fn a_cluster_too_small_is_refused() {
    let refused = |text: &str, nodes| {
        draw(&Wish { nodes, ..alone(&parse(text).expect("it exists"), 60_000) }, 0)
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
        let schedule = draw(&Wish { nodes: 2, ..alone(&parse("kill").expect("it exists"), 60_000) }, seed)
            .expect("long enough");
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
