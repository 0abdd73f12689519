//! What hooked processes see and do, without any fault's judgement: reads, waits, signals, ends.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nemesis::clock::probe::Probe;
use nemesis::clock::{Change, Clock, Level, NodeClock, self_test};
use nemesis::proc;
use nix::sys::signal::Signal;

use crate::support::{Case, eventually};
use crate::waiter::{self, LENGTH, WAYS, Waiter};

pub(crate) const CASES: &[Case<()>] = &[
    ("this_machine_bends_reads_and_waits", |()| assert_eq!(self_test().expect("it does"), Level::Waits)),
    ("a_step_is_seen_and_gone_after_the_heal", a_step_is_seen_and_gone_after_the_heal),
    ("each_clock_is_bent_alone", each_clock_is_bent_alone),
    ("monotonic_time_never_goes_back", monotonic_time_never_goes_back),
    ("waits_are_as_long_as_the_clock_says", waits_are_as_long_as_the_clock_says),
    ("waits_under_way_follow_a_change", waits_under_way_follow_a_change),
    ("a_wait_by_a_clock_that_stands_still_ends_after_the_heal", a_wait_ends_after_a_freeze),
    ("monotonic_is_refused_where_waits_are_not_traced", monotonic_is_refused_where_waits_are_not_traced),
    ("a_program_that_is_executed_by_another_is_hooked", a_program_that_is_executed_by_another_is_hooked),
    ("an_exec_loses_a_hook_that_only_reads", an_exec_loses_a_hook_that_only_reads),
    ("a_traced_process_stops_and_goes_on", a_traced_process_stops_and_goes_on),
    ("ends_are_told", ends_are_told),
    ("a_new_process_begins_bent_or_true", a_new_process_begins_bent_or_true),
    ("many_processes_start_and_end", many_processes_start_and_end),
];

const HOUR_NS: i64 = 3_600_000_000_000;

fn clock(level: Level) -> NodeClock {
    NodeClock::new(level).expect("a memfd can be made")
}

#[track_caller]
fn assert_offset(probe: &mut Probe, clock: Clock, offset_ns: i64) {
    let (least, most) = probe.read().expect("it lives").of(clock).offset_ns();
    assert!((least..=most).contains(&offset_ns), "{clock}: {least} to {most} and not {offset_ns}");
}

fn a_step_is_seen_and_gone_after_the_heal((): &()) {
    for level in [Level::Reads, Level::Waits] {
        let clock = clock(level);
        let mut probe = Probe::start(&clock).expect("hooked");
        assert_offset(&mut probe, Clock::Realtime, 0);
        for offset_ns in [HOUR_NS, -24 * HOUR_NS] {
            clock.bend(Clock::Realtime, Change::Step { offset_ns }).expect("bent");
        }
        assert_offset(&mut probe, Clock::Realtime, -23 * HOUR_NS);
        clock.restore(Clock::Realtime).expect("healed");
        assert_offset(&mut probe, Clock::Realtime, 0);
    }
}

fn each_clock_is_bent_alone((): &()) {
    let clock = clock(Level::Waits);
    let mut probe = Probe::start(&clock).expect("hooked");
    clock.bend(Clock::Monotonic, Change::Step { offset_ns: HOUR_NS }).expect("bent");
    assert_offset(&mut probe, Clock::Realtime, 0);
    assert_offset(&mut probe, Clock::Monotonic, HOUR_NS);
}

fn monotonic_time_never_goes_back((): &()) {
    let clock = clock(Level::Waits);
    let mut probe = Probe::start(&clock).expect("hooked");
    let mut last_ns = 0;
    for turn in 0..200 {
        match turn % 4 {
            0 => clock.bend(Clock::Monotonic, Change::Rate { percent: 1_500 }).expect("bent"),
            1 => clock.bend(Clock::Monotonic, Change::Rate { percent: 10 }).expect("bent"),
            2 => clock.bend(Clock::Monotonic, Change::Rate { percent: 0 }).expect("bent"),
            _ => clock.restore(Clock::Monotonic).expect("healed"),
        }
        let now_ns = probe.read().expect("it lives").of(Clock::Monotonic).fake_ns;
        assert!(now_ns >= last_ns, "{now_ns} after {last_ns}");
        last_ns = now_ns;
    }
}

fn waits_are_as_long_as_the_clock_says((): &()) {
    let clock = clock(Level::Waits);
    clock.bend(Clock::Monotonic, Change::Rate { percent: 1_000 }).expect("bent");
    for way in WAYS {
        let began = Instant::now();
        let fake = Waiter::start(&clock, way).end();
        let took = began.elapsed();
        assert!(fake >= LENGTH, "{way}: not early by its own clock, {fake:?}");
        assert!(took >= LENGTH / 10 && took < LENGTH, "{way} took {took:?}");
    }
    clock.bend(Clock::Monotonic, Change::Rate { percent: 10 }).expect("bent");
    let mut probe = Probe::start(&clock).expect("hooked");
    let took = probe.wait(Duration::from_millis(40)).expect("it lives");
    assert!(took >= Duration::from_millis(400), "a tenth of the speed, and yet {took:?}");
    clock.restore(Clock::Monotonic).expect("healed");
    let took = probe.wait(Duration::from_millis(200)).expect("it lives");
    assert!(took >= Duration::from_millis(200), "after the heal nothing is early: {took:?}");
}

fn waits_under_way_follow_a_change((): &()) {
    for way in WAYS {
        let clock = clock(Level::Waits);
        let began = Instant::now();
        let mut waiter = Waiter::start(&clock, way);
        let sleeping = Duration::from_millis(100);
        thread::sleep(sleeping);
        clock.bend(Clock::Monotonic, Change::Rate { percent: 1_000 }).expect("bent");
        let fake = waiter.end();
        let took = began.elapsed();
        assert!(fake >= LENGTH, "{way}: not early by its own clock, {fake:?}");
        assert!(took < LENGTH, "{way} took {took:?}, as if nothing had changed");
    }
}

fn a_wait_ends_after_a_freeze((): &()) {
    for way in WAYS {
        let clock = clock(Level::Waits);
        clock.bend(Clock::Monotonic, Change::Rate { percent: 0 }).expect("bent");
        let mut waiter = Waiter::start(&clock, way);
        thread::sleep(Duration::from_millis(50));
        assert!(waiter.child.try_wait().expect("ours").is_none(), "{way} waits");
        clock.bend(Clock::Monotonic, Change::Rate { percent: 1_500 }).expect("bent");
        let began = Instant::now();
        waiter.end();
        assert!(began.elapsed() < LENGTH, "{way} goes on by the clock as it is now");
    }
}

fn monotonic_is_refused_where_waits_are_not_traced((): &()) {
    let refused = clock(Level::Reads).bend(Clock::Monotonic, Change::Rate { percent: 200 });
    let text = refused.expect_err("its waits would be wrong").to_string();
    assert_eq!(text, "the node was started for clock reads only, and monotonic needs more");
}

/// A shell that executes the waiter in its place.
fn through_a_shell(way: &str) -> Command {
    let mut command = Command::new("sh");
    let waiter = waiter::command(way);
    command.args(["-c", "exec \"$@\"", "sh"]).arg(waiter.get_program()).args(waiter.get_args());
    command
}

fn a_program_that_is_executed_by_another_is_hooked((): &()) {
    let clock = clock(Level::Waits);
    clock.bend(Clock::Monotonic, Change::Rate { percent: 1_000 }).expect("bent");
    let began = Instant::now();
    let mut waiter = Waiter::of(&clock, through_a_shell("park"));
    assert!(clock.is_mapped_by(waiter.child.pid()).expect("readable"));
    waiter.end();
    assert!(began.elapsed() < LENGTH);
}

fn an_exec_loses_a_hook_that_only_reads((): &()) {
    let clock = clock(Level::Reads);
    let direct = Waiter::start(&clock, "read");
    assert!(clock.is_mapped_by(direct.child.pid()).expect("readable"));
    let executed = Waiter::of(&clock, through_a_shell("read"));
    assert!(!clock.is_mapped_by(executed.child.pid()).expect("readable"), "and that can be seen");
}

fn a_traced_process_stops_and_goes_on((): &()) {
    let clock = clock(Level::Waits);
    let waiter = Waiter::start(&clock, "spin");
    let pid = waiter.child.pid();
    let state = || proc::stat(pid).expect("readable").expect("it lives");
    for _ in 0..3 {
        waiter.child.signal(Signal::SIGSTOP).expect("ours");
        eventually("it stops", Duration::from_secs(10), || state().state == 't');
        let before = state().cpu_ticks;
        thread::sleep(Duration::from_millis(50));
        // A change meanwhile does not let it go on.
        clock.bend(Clock::Monotonic, Change::Rate { percent: 50 }).expect("bent");
        thread::sleep(Duration::from_millis(50));
        assert_eq!((state().state, state().cpu_ticks), ('t', before), "it stands still");
        waiter.child.signal(Signal::SIGCONT).expect("ours");
        eventually("it goes on", Duration::from_secs(10), || state().cpu_ticks > before);
    }
    waiter.child.signal(Signal::SIGSTOP).expect("ours");
    // Its end, by SIGKILL while it is stopped, is the waiter's drop.
}

fn ends_are_told((): &()) {
    let clock = clock(Level::Waits);
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::null());
        clock.spawn(command).expect("hooked")
    };
    assert_eq!(shell("exit 7").wait().expect("ours").code(), Some(7));
    assert_eq!(shell("kill -ABRT $$").wait().expect("ours").signal(), Some(Signal::SIGABRT as i32));
    let mut child = shell("sleep 60");
    assert_eq!(child.try_wait().expect("ours"), None);
    child.kill().expect("ours");
    assert_eq!(child.wait().expect("ours").signal(), Some(Signal::SIGKILL as i32));
    child.kill().expect("killing twice is no error");
    assert!(proc::stat(child.pid()).expect("readable").is_none(), "it is reaped");
    let missing = clock.spawn(Command::new("/nonexistent")).expect_err("there is no such program");
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
}

fn a_new_process_begins_bent_or_true((): &()) {
    let clock = clock(Level::Waits);
    let offset = |probe: &mut Probe| probe.read().expect("it lives").of(Clock::Monotonic).offset_ns();
    clock.bend(Clock::Monotonic, Change::Step { offset_ns: HOUR_NS }).expect("bent");
    drop(Waiter::start(&clock, "read"));
    assert!(offset(&mut Probe::start(&clock).expect("hooked")).1 >= HOUR_NS, "a restart heals nothing");
    clock.restore(Clock::Monotonic).expect("healed");
    assert!(offset(&mut Probe::start(&clock).expect("hooked")).1 >= HOUR_NS, "it never goes back");
    drop(Waiter::start(&clock, "read"));
    assert_offset(&mut Probe::start(&clock).expect("hooked"), Clock::Monotonic, 0);
}

fn many_processes_start_and_end((): &()) {
    let clock = clock(Level::Waits);
    for _ in 0..40 {
        let mut waiter = Waiter::start(&clock, "sleep");
        waiter.child.kill().expect("ours");
        let status = waiter.child.wait().expect("ours");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }
}
