//! The nemesis at work, in a time of its own: when it acts, what it records, and what it leaves.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{FaultPhase, NodeId, Outcome};
use nemesis::actor::{self, FaultRecord, NemesisError, Pace, Stop, Wake, run_at};
use nemesis::knobs::Knobs;
use nemesis::schedule::{Schedule, Step};
use nemesis::target::Target;
use nemesis::trigger::Trigger;

use crate::cluster::{Flaw, TestCluster};

/// Time that passes only while the nemesis waits.
struct Jumps {
    now: Cell<Duration>,
    stop_at: Duration,
}

impl Pace for Jumps {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn wait_until(&self, due: Duration) -> Wake {
        self.now.set(due.max(self.now.get()));
        if due < self.stop_at { Wake::Due } else { Wake::Stopped }
    }
}

/// Steps as `at duration fault target`, milliseconds.
fn schedule(steps: &[&str]) -> Schedule {
    let steps = steps.iter().map(|line| {
        let words = line.split(' ').collect::<Vec<_>>();
        let [at, duration, fault, target] = words[..] else { panic!("four words: {line}") };
        let target = target.parse::<Target>().expect("a target");
        Step {
            at_ms: at.parse().expect("a number"),
            duration_ms: duration.parse().expect("a number"),
            fault: fault.to_owned(),
            knobs: Knobs::default(),
            trigger: target.needs_leader().then_some(Trigger::LEADER_KNOWN),
            target,
            until: None,
        }
    });
    Schedule { steps: steps.collect() }
}

struct Ran {
    result: Result<(), NemesisError>,
    /// One line for each record: `2000 inject kill n1 installed`.
    lines: Vec<String>,
    records: Vec<FaultRecord>,
}

fn run(cluster: &mut TestCluster, steps: &[&str], stop_at_ms: u64) -> Ran {
    carry_out(cluster, &schedule(steps), stop_at_ms)
}

/// A schedule as a plan has it, with conditions.
fn planned(cluster: &mut TestCluster, json: &str) -> Ran {
    carry_out(cluster, &serde_json::from_str(json).expect("a schedule"), NEVER)
}

fn carry_out(cluster: &mut TestCluster, schedule: &Schedule, stop_at_ms: u64) -> Ran {
    let pace = Jumps {
        now: Cell::new(Duration::from_secs(77)),
        stop_at: Duration::from_millis(77_000 + stop_at_ms),
    };
    let (mut lines, mut records) = (Vec::new(), Vec::new());
    let result = run_at(&pace, schedule, cluster, 7, &mut |record| {
        let at = pace.now().as_millis() - 77_000;
        let phase = match record.phase {
            FaultPhase::Inject => "inject",
            FaultPhase::Heal => "heal",
        };
        let nodes = record.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
        let outcome = format!("{:?}", record.receipt.outcome).to_lowercase();
        lines.push(format!("{at} {phase} {} {nodes} {outcome}", record.fault));
        records.push(record);
    });
    Ran { result, lines, records }
}

const NEVER: u64 = u64::MAX / 2_000_000;

#[test]
fn a_schedule_is_carried_out_on_time_and_ends_with_a_heal() {
    let mut cluster = TestCluster::new(3);
    let steps = ["2000 3000 kill leader", "7000 3000 partition n2", "12000 4000 pause n3"];
    let ran = run(&mut cluster, &steps, NEVER);
    ran.result.expect("no trouble");
    assert_eq!(
        ran.lines,
        [
            "2000 inject kill n1 installed",
            "5000 heal kill n1 installed",
            "7000 inject partition n2 installed",
            "10000 heal partition n2 installed",
            "12000 inject pause n3 installed",
            "16000 heal pause n3 installed",
            "16000 heal heal n1+n2+n3 installed",
        ]
    );
    assert_eq!(ran.records[0].receipt.evidence[0].source, "target leader");
    assert_eq!(ran.records[0].receipt.evidence[0].seen, "n1");
    assert_eq!((cluster.states().as_str(), cluster.cuts().as_str()), ("n1 up, n2 up, n3 up", ""));
}

#[test]
fn overlapping_faults_heal_each_at_its_own_time() {
    let mut cluster = TestCluster::new(3);
    let ran = run(&mut cluster, &["1000 5000 partition n1", "2000 1000 partition n2"], NEVER);
    assert_eq!(
        ran.lines,
        [
            "1000 inject partition n1 installed",
            "2000 inject partition n2 installed",
            "3000 heal partition n2 installed",
            "6000 heal partition n1 installed",
            "6000 heal heal n1+n2+n3 installed",
        ]
    );
    let stays = |record: &FaultRecord| record.receipt.evidence.iter().any(|e| e.seen.contains("stays cut"));
    assert!(stays(&ran.records[2]) && !stays(&ran.records[3]));
}

#[test]
fn stopping_heals_what_is_in_force_and_skips_the_rest() {
    let mut cluster = TestCluster::new(3);
    let steps = ["1000 9000 pause n1", "2000 9000 partition n2", "20000 1000 kill n3"];
    let ran = run(&mut cluster, &steps, 4000);
    ran.result.expect("no trouble");
    assert_eq!(ran.lines[2], "10000 inject kill  skipped");
    assert_eq!(ran.records[2].receipt.evidence[1].seen, "the run ended before its time");
    let healed =
        ran.lines[3..].iter().map(|line| line.split_once(' ').expect("a time").1).collect::<Vec<_>>();
    assert_eq!(
        healed,
        ["heal partition n2 installed", "heal pause n1 installed", "heal heal n1+n2+n3 installed"]
    );
    assert_eq!((cluster.states().as_str(), cluster.cuts().as_str()), ("n1 up, n2 up, n3 up", ""));
}

#[test]
fn a_step_waits_for_a_leader_and_moves_the_ones_after_it() {
    let mut cluster = TestCluster::new(2);
    // One look is taken when the schedule begins, the others are 20 ms apart.
    cluster.leader_after_looks.set(Some((11, NodeId(2))));
    let ran = run(&mut cluster, &["1000 2000 pause leader", "4000 2000 pause n1"], NEVER);
    assert_eq!(
        ran.lines[..4],
        [
            "1200 inject pause n2 installed",
            "3200 heal pause n2 installed",
            "4200 inject pause n1 installed",
            "6200 heal pause n1 installed",
        ]
    );
}

#[test]
fn without_a_leader_the_step_is_skipped_with_the_reason() {
    let mut cluster = TestCluster::new(2);
    cluster.leader.set(None);
    let ran = run(&mut cluster, &["1000 2000 pause leader", "2000 2000 pause n1"], NEVER);
    assert_eq!(ran.lines[..2], ["4000 inject pause  skipped", "5000 inject pause n1 installed"]);
    assert_eq!(ran.records[0].receipt.evidence[1].seen, "not seen within 3000 ms: a leader is known");
}

#[test]
fn a_step_lasts_until_its_condition_holds_and_those_after_it_move_along() {
    let mut cluster = TestCluster::new(2);
    // Two nodes answer an operation each at every look; the first look after its time is the eleventh.
    let ran = planned(
        &mut cluster,
        r#"{"steps":[
            {"at_ms":1000,"duration_ms":500,"fault":"pause","target":"n1",
             "until":{"when":{"acknowledged":{"operations":20}},"within_ms":5000}},
            {"at_ms":2000,"duration_ms":100,"fault":"kill","target":"step-1",
             "trigger":{"when":{"all":[{"healed":1},{"serves":"step-1"}]},"within_ms":1000}}]}"#,
    );
    ran.result.expect("no trouble");
    assert_eq!(
        ran.lines[..4],
        [
            "1000 inject pause n1 installed",
            "1680 heal pause n1 installed",
            // 500 ms after the one before, as planned.
            "2180 inject kill n1 installed",
            "2280 heal kill n1 installed",
        ]
    );
    let seen = |record: usize, nth: usize| ran.records[record].receipt.evidence[nth].seen.as_str();
    assert_eq!(seen(1, 0), "20 operations acknowledged since the step began, after 180 ms");
    assert_eq!(seen(2, 1), "step 1 is healed and step-1 serves, after 0 ms");
}

#[test]
fn a_condition_that_never_holds_ends_at_its_limit() {
    let mut cluster = TestCluster::new(2);
    let ran = planned(
        &mut cluster,
        r#"{"steps":[
            {"at_ms":1000,"duration_ms":500,"fault":"pause","target":"n1",
             "until":{"when":{"leader-elected":{"times":1}},"within_ms":300}},
            {"at_ms":1200,"duration_ms":100,"fault":"partition","target":"n2"},
            {"at_ms":2000,"duration_ms":100,"fault":"kill","target":"n1",
             "trigger":{"when":{"traced":{"event":"snapshot","times":1}},"within_ms":200,"otherwise":"go-on"}},
            {"at_ms":2200,"duration_ms":100,"fault":"kill","target":"n2",
             "trigger":{"when":{"traced":{"event":"snapshot","times":1}},"within_ms":200}}]}"#,
    );
    assert_eq!(
        ran.lines[..7],
        [
            "1000 inject pause n1 installed",
            "1200 inject partition n2 installed",
            "1300 heal partition n2 installed",
            "1800 heal pause n1 installed",
            "2500 inject kill n1 installed",
            "2600 heal kill n1 installed",
            "2900 inject kill  skipped",
        ]
    );
    let until = &ran.records[3].receipt.evidence[0];
    assert_eq!(until.seen, "not seen within 300 ms: 1 elected as leader since the step began");
}

#[test]
fn a_plan_that_waits_for_what_cannot_be_is_refused_before_anything_is_hurt() {
    let refused = |step: &str| {
        let json = format!(
            r#"{{"steps":[{{"at_ms":0,"duration_ms":1,"fault":"kill","target":"n1"}},
                {{"at_ms":9,"duration_ms":1,"fault":"pause",{step}}}]}}"#
        );
        let ran = planned(&mut TestCluster::new(1), &json);
        assert!(ran.records.is_empty());
        ran.result.expect_err("refused").to_string()
    };
    assert_eq!(
        refused(r#""target":"step-2""#),
        "the step of pause at 9 ms: target `step-2` is not a step before it"
    );
    let waits = r#""target":"n1","trigger":{"when":{"in-force":2},"within_ms":1}"#;
    assert!(refused(waits).contains("step 2 is not one of the steps 1 to 1"));
}

#[test]
fn a_fault_waits_for_its_leader_while_others_heal_on_time() {
    let mut cluster = TestCluster::new(3);
    cluster.leader.set(None);
    let ran = run(&mut cluster, &["1000 1500 pause n3", "2000 2000 kill leader"], NEVER);
    assert_eq!(ran.lines[1..3], ["2500 heal pause n3 installed", "5000 inject kill  skipped"]);
}

#[test]
fn a_fault_without_effect_is_recorded_as_indeterminate_and_healed() {
    let mut cluster = TestCluster::new(3).with(Flaw::CutIgnored);
    let ran = run(&mut cluster, &["1000 2000 partition n1"], NEVER);
    ran.result.expect("a fault that missed is no trouble of the harness");
    assert_eq!(ran.lines[0], "1000 inject partition n1 indeterminate");
    assert_eq!(cluster.cuts(), "");
}

#[test]
fn a_node_that_dies_first_makes_the_fault_indeterminate_and_is_started_again() {
    let mut cluster = TestCluster::new(2).with(Flaw::KillTooLate);
    let ran = run(&mut cluster, &["1000 2000 kill n1", "5000 2000 kill n2"], NEVER);
    ran.result.expect("the cluster's doing, not the harness's");
    assert_eq!(
        ran.lines[..3],
        ["1000 inject kill n1 indeterminate", "1000 heal kill n1 installed", "5000 inject kill n2 installed"]
    );
    assert_eq!(ran.records[0].receipt.evidence[1].seen, "n1 is not running");
}

#[test]
fn trouble_ends_the_schedule_with_everything_healed() {
    let mut cluster = TestCluster::new(2).with(Flaw::KillRefused);
    let ran = run(&mut cluster, &["500 9000 partition n1", "1000 2000 kill n1", "5000 2000 pause n2"], NEVER);
    let error = ran.result.expect_err("EPERM");
    assert!(error.to_string().starts_with("failed to inject kill: failed to kill n1: "), "{error}");
    assert_eq!(ran.lines[1], "1000 inject kill n1 indeterminate");
    assert_eq!(ran.lines.last().expect("a final heal"), "1000 heal heal n1+n2 installed");
    assert_eq!((cluster.states().as_str(), cluster.cuts().as_str()), ("n1 up, n2 up", ""));
}

#[test]
fn a_fault_that_does_not_exist_is_refused_before_anything_is_hurt() {
    let mut cluster = TestCluster::new(1);
    let ran = run(&mut cluster, &["0 1000 kill n1", "2000 1000 pauze n1"], NEVER);
    let error = ran.result.expect_err("no such fault");
    assert_eq!(
        error.to_string(),
        "there is no fault `pauze`; did you mean `pause`?; `harness list` shows all"
    );
    assert!(ran.records.is_empty());
}

#[test]
fn without_a_switch_processes_are_hurt_and_partitions_are_trouble() {
    let mut cluster = TestCluster::new(2);
    cluster.has_switch = false;
    let ran = run(&mut cluster, &["0 1000 pause n1", "2000 1000 partition n1"], NEVER);
    assert!(ran.result.expect_err("no switch").to_string().contains("run `harness doctor`"));
    assert_eq!(ran.lines[0], "0 inject pause n1 installed");
}

#[test]
fn the_same_seed_hits_the_same_nodes_also_when_other_steps_are_left_out() {
    let hit = |steps: &[&str]| {
        let ran = run(&mut TestCluster::new(5), steps, NEVER);
        let last = ran.records.iter().rfind(|record| record.phase == FaultPhase::Inject);
        last.expect("a fault was injected").nodes.clone()
    };
    let both = hit(&["1000 1000 pause minority", "3000 1000 pause minority"]);
    assert_eq!(both, hit(&["3000 1000 pause minority"]));
}

#[test]
fn a_wish_to_stop_ends_a_long_wait_at_once() {
    let stop = Arc::new(Stop::default());
    let nemesis = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut cluster = TestCluster::new(1);
            let mut records = Vec::new();
            let steps = schedule(&["3600000 1000 kill n1"]);
            let result = actor::run(&steps, &mut cluster, 7, &stop, &mut |record| records.push(record));
            (result, records)
        }
    });
    let began = Instant::now();
    stop.request();
    let (result, records) = nemesis.join().expect("the nemesis does not panic");
    result.expect("no trouble");
    assert!(began.elapsed() < Duration::from_secs(10), "the wait was for an hour");
    assert_eq!(records.len(), 2, "the skipped step and the final heal");
    assert_eq!(records[0].receipt.outcome, Outcome::Skipped);
}
