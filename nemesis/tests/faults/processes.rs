//! Kill, pause, restart storm and slow on real processes.

use checkers::history::{NodeId, Outcome};
use nemesis::cluster::Processes;
use nemesis::faults::hold::Hold;
use nemesis::faults::{FaultError, Needs};
use nemesis::proc;
use nix::sys::signal::Signal;

use crate::cluster::{
    Flaw, Program, TestCluster, assert_outcome, eventually, healed, healed_beside, inject, injected,
};

#[test]
fn kill_takes_down_exactly_the_targets_and_heal_starts_them() {
    let mut cluster = TestCluster::new(3);
    let before = cluster.pid(NodeId(2)).expect("n2 is up");
    let (receipt, mut hold) = injected(&mut cluster, "kill", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "n2 waitid: signal 9 (SIGKILL)");
    assert_outcome(&receipt, Outcome::Installed, &format!("n2 /proc/{before}/stat: gone"));
    assert_eq!(cluster.states(), "n1 up, n2 down, n3 up");

    let receipt = healed(&mut cluster, "kill", &mut hold);
    let after = cluster.pid(NodeId(2)).expect("n2 is up again");
    assert_outcome(&receipt, Outcome::Installed, &format!("n2 /proc/{after}/stat: state "));
    assert_outcome(&receipt, Outcome::Installed, &format!("before: pid {before}, tick "));
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");

    assert!(hold.is_empty());
    healed(&mut cluster, "kill", &mut hold);
    assert_eq!(cluster.pid(NodeId(2)), Some(after), "healing twice starts nothing twice");
}

#[test]
fn a_kill_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(1).with(Flaw::KillIgnored);
    let (receipt, mut hold) = injected(&mut cluster, "kill", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "still there, state ");
    let receipt = healed(&mut cluster, "kill", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "started at tick ");
}

#[test]
fn a_start_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(1);
    let (_, mut hold) = injected(&mut cluster, "kill", &[1]);
    cluster.flaw = Flaw::StartIgnored;
    let receipt = healed(&mut cluster, "kill", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "n1 processes: not running after its start");
}

#[test]
fn killing_what_is_down_is_skipped() {
    let mut cluster = TestCluster::new(2);
    let (_, first) = injected(&mut cluster, "kill", &[1]);
    let (receipt, second) = injected(&mut cluster, "kill", &[1]);
    assert_outcome(&receipt, Outcome::Skipped, "n1 processes: down already");
    assert!(second.is_empty() && !first.is_empty());

    let (receipt, _) = injected(&mut cluster, "kill", &[1, 2]);
    assert_outcome(&receipt, Outcome::Installed, "n1 processes: down already");
}

#[test]
fn a_refused_kill_leaves_the_node_in_the_hold() {
    let mut cluster = TestCluster::new(1).with(Flaw::KillRefused);
    let (result, hold) = inject(&mut cluster, "kill", &[1]);
    let error = result.expect_err("EPERM");
    assert!(error.is_trouble());
    assert!(error.to_string().starts_with("failed to kill n1: "), "{error}");
    assert!(hold.killed.contains_key(&NodeId(1)));
}

#[test]
fn a_node_that_died_just_before_is_not_the_harness_s_trouble() {
    let mut cluster = TestCluster::new(1).with(Flaw::KillTooLate);
    let (result, mut hold) = inject(&mut cluster, "kill", &[1]);
    assert!(!result.expect_err("it is down").is_trouble());
    healed(&mut cluster, "kill", &mut hold);
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn pause_stops_exactly_the_targets_and_heal_lets_them_go_on() {
    let mut cluster = TestCluster::running(3, Program::Busy);
    let pid = cluster.pid(NodeId(3)).expect("n3 is up");
    let (receipt, mut hold) = injected(&mut cluster, "pause", &[3]);
    assert_outcome(
        &receipt,
        Outcome::Installed,
        &format!("n3 /proc/{pid}/task/*/stat: 1 of 1 threads in state T"),
    );
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 paused");

    let receipt = healed(&mut cluster, "pause", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "state T, 0 ticks of processor time while paused");
    assert_outcome(&receipt, Outcome::Installed, "0 of 1 threads in state T after SIGCONT");
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");
    assert_eq!(cluster.pid(NodeId(3)), Some(pid), "it is the same process");
    assert!(hold.is_empty());
}

#[test]
fn pause_stops_every_thread() {
    let mut cluster = TestCluster::running(1, Program::Threaded);
    let pid = cluster.pid(NodeId(1)).expect("n1 is up");
    eventually("it has two threads", || proc::threads(pid).expect("/proc is readable").len() == 2);
    let (receipt, mut hold) = injected(&mut cluster, "pause", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "2 of 2 threads in state T");
    let receipt = healed(&mut cluster, "pause", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "0 of 2 threads in state T after SIGCONT");
}

#[test]
fn a_pause_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(1).with(Flaw::StopIgnored);
    let (receipt, mut hold) = injected(&mut cluster, "pause", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "0 of 1 threads in state T");
    healed(&mut cluster, "pause", &mut hold);
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn a_resume_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(1);
    let (_, mut hold) = injected(&mut cluster, "pause", &[1]);
    cluster.flaw = Flaw::ContinueIgnored;
    let receipt = healed(&mut cluster, "pause", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "1 of 1 threads in state T after SIGCONT");
}

#[test]
fn a_pause_that_was_interrupted_is_noticed_at_the_heal() {
    let mut cluster = TestCluster::running(1, Program::Busy);
    let (_, mut hold) = injected(&mut cluster, "pause", &[1]);
    let paused = hold.paused[&NodeId(1)];
    cluster.signal(NodeId(1), Signal::SIGCONT);
    let cpu_ticks = || {
        let stat = proc::stat(paused.identity.pid).expect("/proc is readable");
        stat.expect("n1 runs").cpu_ticks
    };
    eventually("a busy node uses the processor", || cpu_ticks() > paused.cpu_ticks);
    cluster.signal(NodeId(1), Signal::SIGSTOP);
    eventually("n1 is stopped again", || cluster.states() == "n1 paused");

    let receipt = healed(&mut cluster, "pause", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "ticks of processor time while paused");
}

#[test]
fn pausing_what_is_paused_or_down_is_skipped() {
    let mut cluster = TestCluster::new(2);
    let (_, _paused) = injected(&mut cluster, "pause", &[1]);
    let (_, _killed) = injected(&mut cluster, "kill", &[2]);
    let (receipt, hold) = injected(&mut cluster, "pause", &[1, 2]);
    assert_outcome(&receipt, Outcome::Skipped, "paused already");
    assert_outcome(&receipt, Outcome::Skipped, "n2 processes: down");
    assert!(hold.is_empty());
}

#[test]
fn a_paused_node_can_be_killed_and_both_heal_in_any_order() {
    for kill_heals_first in [true, false] {
        let mut cluster = TestCluster::new(1);
        let (_, mut paused) = injected(&mut cluster, "pause", &[1]);
        let (receipt, mut killed) = injected(&mut cluster, "kill", &[1]);
        assert_outcome(&receipt, Outcome::Installed, "gone");
        if kill_heals_first {
            healed(&mut cluster, "kill", &mut killed);
            let receipt = healed(&mut cluster, "pause", &mut paused);
            assert_outcome(&receipt, Outcome::Installed, "n1 processes: another process by now");
        } else {
            let receipt = healed(&mut cluster, "pause", &mut paused);
            assert_outcome(&receipt, Outcome::Installed, "n1 processes: down; nothing to resume");
            healed(&mut cluster, "kill", &mut killed);
        }
        assert_eq!(cluster.states(), "n1 up");
    }
}

#[test]
fn a_node_stays_hurt_for_the_other_fault() {
    let mut cluster = TestCluster::new(1);
    let (_, mut first) = injected(&mut cluster, "pause", &[1]);
    let mut second = first.clone();
    let receipt = healed_beside(&mut cluster, "pause", &mut first, &second);
    assert_outcome(&receipt, Outcome::Installed, "n1 nemesis: stays paused for another fault");
    assert_eq!(cluster.states(), "n1 paused");
    healed(&mut cluster, "pause", &mut second);
    assert_eq!(cluster.states(), "n1 up");
}

/// Lets a storm act so often.
fn pulse(cluster: &mut TestCluster, hold: &mut Hold, times: usize) {
    let fault = nemesis::faults::find("restart-storm").expect("it exists");
    for _ in 0..times {
        fault.pulse(cluster, hold).expect("nothing is refused");
    }
}

#[test]
fn a_storm_restarts_exactly_the_targets_and_leaves_them_running() {
    let mut cluster = TestCluster::new(2);
    let (first, other) = (cluster.pid(NodeId(2)), cluster.pid(NodeId(1)));
    let (receipt, mut hold) = injected(&mut cluster, "restart-storm", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "n2 waitid: signal 9 (SIGKILL)");
    let second = cluster.pid(NodeId(2));
    assert!(second.is_some() && second != first);
    pulse(&mut cluster, &mut hold, 3);
    let receipt = healed(&mut cluster, "restart-storm", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "4 restarts, 0 of them without evidence");
    assert!(hold.is_empty());
    assert_eq!((cluster.states().as_str(), cluster.pid(NodeId(1))), ("n1 up, n2 up", other));
}

#[test]
fn a_storm_that_restarts_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(1);
    let (_, mut hold) = injected(&mut cluster, "restart-storm", &[1]);
    cluster.flaw = Flaw::KillIgnored;
    pulse(&mut cluster, &mut hold, 2);
    let receipt = healed(&mut cluster, "restart-storm", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "2 of them without evidence");

    let mut cluster = TestCluster::new(1).with(Flaw::KillIgnored);
    let (receipt, _) = injected(&mut cluster, "restart-storm", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "still there");
}

#[test]
fn a_storm_leaves_alone_what_another_fault_holds_down() {
    let mut cluster = TestCluster::new(1);
    let (_, mut storm) = injected(&mut cluster, "restart-storm", &[1]);
    let (_, mut killed) = injected(&mut cluster, "kill", &[1]);
    pulse(&mut cluster, &mut storm, 1);
    assert_eq!(cluster.states(), "n1 down");
    let receipt = healed_beside(&mut cluster, "restart-storm", &mut storm, &killed);
    assert_outcome(&receipt, Outcome::Installed, "stays down for another fault");
    assert_eq!(cluster.states(), "n1 down");
    healed(&mut cluster, "kill", &mut killed);
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn slow_lets_exactly_the_targets_run_for_a_part_of_the_time() {
    let mut cluster = TestCluster::running(2, Program::Busy);
    let (receipt, mut hold) = injected(&mut cluster, "slow", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "looks; asked to run for ");
    let ticks = |cluster: &TestCluster, node| {
        let pid = cluster.pid(NodeId(node)).expect("it is up");
        proc::stat(pid).expect("/proc is readable").expect("it runs").cpu_ticks
    };
    let before = (ticks(&cluster, 1), ticks(&cluster, 2));
    // Both want all of a processor, and the kernel is fair to them.
    eventually("the node beside it works", || ticks(&cluster, 1) - before.0 >= 40);
    let (fast, slow) = (ticks(&cluster, 1) - before.0, ticks(&cluster, 2) - before.1);
    assert!(slow < fast, "n2 used {slow} ticks, n1 {fast}");

    let receipt = healed(&mut cluster, "slow", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "0 of 1 threads in state T after SIGCONT");
    assert!(hold.is_empty());
    let pid = cluster.pid(NodeId(2)).expect("it is up");
    for _ in 0..100 {
        let stat = proc::stat(pid).expect("/proc is readable").expect("it runs");
        assert_ne!(stat.state, 'T', "nobody stops it any more");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_node_that_is_not_slowed_or_not_let_go_on_is_indeterminate() {
    // Somebody else's SIGSTOP and SIGCONT stand for a throttle that does only the one or the other.
    let mut cluster = TestCluster::running(1, Program::Busy);
    let (_, mut hold) = injected(&mut cluster, "slow", &[1]);
    hold.slowed[&NodeId(1)].throttle.end();
    let receipt = healed(&mut cluster, "slow", &mut hold.clone());
    assert_outcome(&receipt, Outcome::Indeterminate, "stopped at 0 of ");
    cluster.signal(NodeId(1), Signal::SIGSTOP);
    let receipt = healed(&mut cluster, "slow", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "asked to run for ");
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn a_slowed_node_can_be_killed() {
    let mut cluster = TestCluster::new(1);
    let (_, mut slowed) = injected(&mut cluster, "slow", &[1]);
    let (_, mut killed) = injected(&mut cluster, "kill", &[1]);
    healed(&mut cluster, "kill", &mut killed);
    let receipt = healed(&mut cluster, "slow", &mut slowed);
    assert_outcome(&receipt, Outcome::Installed, "down, or another process by now");
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn processes_need_no_switch_and_partitions_do() {
    let mut cluster = TestCluster::new(2);
    (cluster.has_switch, cluster.has_system) = (false, false);
    for fault in nemesis::faults::FAULTS {
        let needs = fault.needs();
        assert_eq!(needs.are_met_by(&mut cluster), needs == Needs::Processes, "{}", fault.name());
    }
    let (result, hold): (_, Hold) = inject(&mut cluster, "partition", &[1]);
    assert!(matches!(result, Err(FaultError::NoSwitch)));
    assert!(hold.is_empty());
}
