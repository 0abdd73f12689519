//! What a hooked program sees.

use std::process::ExitCode;
use std::time::Duration;

use nemesis::clock::probe::Probe;
use nemesis::clock::{Change, Clock, Level, NodeClock, self_test};

use crate::support::Case;

pub(crate) const PROGRAM: &str = "program";

pub(crate) fn program() -> ExitCode {
    ExitCode::SUCCESS
}

pub(crate) const CASES: &[Case<()>] = &[
    ("this_machine_bends_reads_and_waits", |()| assert_eq!(self_test().expect("it does"), Level::Waits)),
    ("a_step_is_seen", a_step_is_seen),
];

fn a_step_is_seen(_: &()) {
    let clock = NodeClock::new(Level::Reads).expect("memory");
    let mut probe = Probe::start(&clock).expect("hooked");
    clock.bend(Clock::Realtime, Change::Step { offset_ns: 5_000_000_000 }).expect("bent");
    let (least, most) = probe.read().expect("alive").of(Clock::Realtime).offset_ns();
    assert!((least..=most).contains(&5_000_000_000), "{least} {most}");
    let _ = Duration::ZERO;
}
