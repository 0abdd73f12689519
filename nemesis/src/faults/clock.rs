//! What the faults on clocks share: they bend, and show by readings of a probe that it is so.
//!
//! A probe is a process of our own under the node's clocks. Each of its readings is an interval, as its answer took some
//! time; what is said of offset and speed is said for every moment in it, so a busy machine makes a statement weaker and
//! never wrong. What cannot be told is measured again for longer, and in the end missing.
//!
//! ```text
//! the probe's clock   moved by the offset, or runs at the rate        from two readings
//! the probe's wait    takes as long as the bent clock says            where MONOTONIC runs faster or slower
//! the kernel          lists the control page among what the node itself has mapped
//! ```

use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};

use super::hold::{BentClock, Hold};
use super::process::running;
use super::proof::Proof;
use super::{Aim, FaultError};
use crate::clock::probe::{Probe, Seen};
use crate::clock::{Change, Clock};
use crate::cluster::{Clocks, Cluster};
use crate::knobs::{Knob, Knobs, Range};
use crate::target::Target;

/// Which clocks.
pub(super) const CLOCK: Knob = Knob {
    name: "clock",
    about: "the time of day, the time that waits are measured by, or both",
    range: Range::Word(&["realtime", "monotonic", "both"]),
};

/// A leader's clock decides how long it believes in itself; any other node's, when it stops believing in the leader.
pub(super) const TARGETS: &[Target] = &[Target::Leader, Target::One, Target::Minority, Target::All];

/// Two readings this far apart tell a speed, on a quiet machine to a thousandth.
const SPAN: Duration = Duration::from_millis(40);
/// How long is measured at most until something can be told.
const MEASURED_MAX: Duration = Duration::from_secs(3);
/// How long both sides of a strobe are looked for, besides a few of its periods.
const SIDES_SEEN_WITHIN: Duration = Duration::from_secs(1);
/// An offset as small as this is told from none.
const OFFSET_TOLD_NS: i64 = 100_000_000;
/// A speed is told if it is known to a twentieth. The nearest that are not the same differ by a tenth.
const SPEED_KNOWN_TO: f64 = 0.05;
/// Rounding to nanoseconds, over [`SPAN`].
const ROUNDING_PERCENT: f64 = 1e-4;
/// How long a wait is, by the real clock, that shows that waits follow.
const WAIT: Duration = Duration::from_millis(60);
/// A single wait may be late; the shortest of so many is hardly.
const WAITS: usize = 3;
/// How long a clock that stands still is waited by.
const STANDSTILL: Duration = Duration::from_millis(150);

/// The clocks that a knob chooses.
pub(super) fn chosen(knobs: &Knobs) -> Vec<Clock> {
    match knobs.word(CLOCK.name) {
        "realtime" => vec![Clock::Realtime],
        "monotonic" => vec![Clock::Monotonic],
        _ => Clock::ALL.to_vec(),
    }
}

/// Bends these clocks of the targets and looks whether they are.
pub(super) fn bend(
    cluster: &mut dyn Cluster,
    aim: &Aim<'_>,
    changes: &[(Clock, Change)],
    hold: &mut Hold,
) -> Result<Receipt, FaultError> {
    let mut proof = Proof::default();
    for &node in aim.targets {
        let Some((pid, _)) = running(cluster, node)? else {
            proof.note("processes", Some(node), "down");
            continue;
        };
        let clocks = cluster.clocks().ok_or(FaultError::NoClocks)?;
        if let Some((clock, _)) = changes.iter().find(|(clock, _)| clocks.is_bent(node, *clock)) {
            proof.note("nemesis", Some(node), format!("its {clock} clock is bent by another fault"));
            continue;
        }
        let mut probe = clocks.probe(node)?;
        let mut before = Vec::new();
        for &(clock, _) in changes {
            before.push(probed(node, probe.read())?.of(clock));
        }
        for &(clock, change) in changes {
            hold.bent.insert((node, clock), BentClock { change, seen: None });
            clocks.bend(node, clock, change)?;
        }
        let mapped = clocks.is_hooked(node)?;
        let seen = if mapped { "maps the control page" } else { "does not map the control page" };
        proof.require(mapped, format!("/proc/{pid}/maps"), Some(node), seen);
        for (&(clock, change), before) in changes.iter().zip(before) {
            let seen = probed(node, show(&mut probe, clock, change, before, node, &mut proof))?;
            hold.bent.insert((node, clock), BentClock { change, seen: Some(seen) });
        }
        if let Some((clock, change)) = changes.iter().find(|(clock, _)| *clock == Clock::Monotonic) {
            probed(node, show_wait(probe, *clock, *change, node, &mut proof))?;
        }
    }
    Ok(if hold.bent.is_empty() { proof.skipped() } else { proof.receipt() })
}

/// Heals the clocks that no other fault keeps bent, and looks whether they run as they should.
pub(super) fn restore(
    cluster: &mut dyn Cluster,
    hold: &mut Hold,
    others: &Hold,
) -> Result<Receipt, FaultError> {
    let mut proof = Proof::default();
    let mut first_error = None;
    for ((node, clock), bent) in hold.bent.clone() {
        if others.bent.contains_key(&(node, clock)) {
            proof.note("nemesis", Some(node), format!("its {clock} clock stays bent for another fault"));
            hold.bent.remove(&(node, clock));
            continue;
        }
        let clocks = cluster.clocks().ok_or(FaultError::NoClocks)?;
        match restore_one(clocks, node, clock, Some(bent), &mut proof) {
            Ok(()) => {
                hold.bent.remove(&(node, clock));
            }
            // The other clocks still need to be healed.
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(proof.receipt()), Err)
}

/// Heals every clock of every node.
pub(super) fn restore_all(cluster: &mut dyn Cluster, proof: &mut Proof) -> Result<(), FaultError> {
    let nodes = cluster.nodes();
    // Without them there was nothing to bend.
    let Some(clocks) = cluster.clocks() else { return Ok(()) };
    let all = nodes.iter().flat_map(|&node| Clock::ALL.map(|clock| (node, clock)));
    let mut first_error = None;
    for (node, clock) in all {
        if let Err(error) = restore_one(clocks, node, clock, None, proof) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Heals a clock, after a last look at whether it was bent all the time.
fn restore_one(
    clocks: &mut dyn Clocks,
    node: NodeId,
    clock: Clock,
    bent: Option<BentClock>,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let before = bent.map(|bent| still_bent(clocks, node, clock, bent, proof));
    clocks.restore(node, clock)?;
    // A clock is healed also if the look before failed.
    before.transpose()?;
    let mut probe = clocks.probe(node)?;
    let source = format!("probe {clock}");
    match clock {
        Clock::Realtime => {
            let period = match bent.map(|bent| bent.change) {
                Some(Change::Strobe { period, .. }) => period,
                Some(Change::Step { .. } | Change::Rate { .. }) | None => Duration::ZERO,
            };
            // Longer than a strobe stays away, so that one that goes on is seen.
            let until = Instant::now() + 2 * period;
            let (is_right, offset) = loop {
                let offset = probed(node, narrow(&mut probe, clock, OFFSET_TOLD_NS))?.offset_ns();
                let is_right = within(offset, 0);
                if !is_right || Instant::now() >= until {
                    break (is_right, offset);
                }
                thread::sleep(Duration::from_millis(1));
            };
            proof.require(is_right, source, Some(node), format!("{} off after the heal", in_ms(offset)));
        }
        Clock::Monotonic => {
            let (speed, _) = probed(node, speed(&mut probe, clock))?;
            let seen = format!("runs at {} after the heal", in_percent(speed));
            proof.require(contains(speed, 100.0) && is_known(speed, 100.0), source, Some(node), seen);
        }
    }
    Ok(())
}

/// Looks whether a clock runs as it was left.
fn still_bent(
    clocks: &dyn Clocks,
    node: NodeId,
    clock: Clock,
    bent: BentClock,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    // An injection that failed halfway left nothing to compare with.
    let Some(then) = bent.seen else { return Ok(()) };
    let mut probe = clocks.probe(node)?;
    let source = format!("probe {clock}");
    let (shows, seen) = match bent.change {
        Change::Step { offset_ns } => {
            let now = probed(node, narrow(&mut probe, clock, offset_ns))?;
            let moved = difference(now.offset_ns(), then.offset_ns());
            (within(moved, 0), format!("{} off until the heal", in_ms(now.offset_ns())))
        }
        Change::Rate { percent } => {
            let now = probed(node, probe.read())?.of(clock);
            let ran = then.rate_percent(now);
            (contains(ran, percent as f64), format!("ran at {} until the heal", in_percent(ran)))
        }
        Change::Strobe { offset_ns, period } => {
            let sides = probed(node, both_sides(&mut probe, clock, offset_ns, period))?;
            (sides == (true, true), format!("{} until the heal", in_words(sides, offset_ns)))
        }
    };
    proof.require(shows, source, Some(node), seen);
    Ok(())
}

/// Shows that a clock is bent; a reading to compare with when it is healed.
fn show(
    probe: &mut Probe,
    clock: Clock,
    change: Change,
    before: Seen,
    node: NodeId,
    proof: &mut Proof,
) -> std::io::Result<Seen> {
    let source = format!("probe {clock}");
    let (shows, what, seen) = match change {
        Change::Step { offset_ns } => {
            let now = narrow(probe, clock, offset_ns)?;
            let moved = difference(now.offset_ns(), before.offset_ns());
            (within(moved, offset_ns) && !within(moved, 0), format!("moved by {}", in_ms(moved)), now)
        }
        Change::Rate { percent } => {
            let (speed, now) = speed(probe, clock)?;
            let shows = contains(speed, percent as f64) && !contains(speed, 100.0);
            (shows, format!("runs at {}", in_percent(speed)), now)
        }
        Change::Strobe { offset_ns, period } => {
            let sides = both_sides(probe, clock, offset_ns, period)?;
            (sides == (true, true), in_words(sides, offset_ns), before)
        }
    };
    proof.require(shows, source, Some(node), what);
    Ok(seen)
}

/// Shows that waits follow a clock that runs faster or slower.
fn show_wait(
    mut probe: Probe,
    clock: Clock,
    change: Change,
    node: NodeId,
    proof: &mut Proof,
) -> std::io::Result<()> {
    let source = format!("probe {clock}, a wait");
    match change {
        Change::Rate { percent: 0 } => {
            let length = STANDSTILL / 10;
            let waits = probe.still_waits(length, STANDSTILL)?;
            let seen = format!("{length:?} are {}over after {STANDSTILL:?}", if waits { "not " } else { "" });
            proof.require(waits, source, Some(node), seen);
        }
        Change::Rate { percent } => {
            let fake = WAIT.mul_f64(percent as f64 / 100.0);
            let mut took = Duration::MAX;
            for _ in 0..WAITS {
                took = took.min(probe.wait(fake)?);
            }
            // Never early; and shorter than it would be by the true clock, which a slow one is anyway not.
            let in_time = took >= WAIT.mul_f64(0.999) && (percent < 100 || took < fake);
            proof.require(in_time, source, Some(node), format!("{fake:.1?} took {took:.1?}"));
        }
        Change::Step { .. } | Change::Strobe { .. } => {}
    }
    Ok(())
}

/// A reading that is sharp enough to tell such an offset from none.
fn narrow(probe: &mut Probe, clock: Clock, offset_ns: i64) -> std::io::Result<Seen> {
    let deadline = Instant::now() + MEASURED_MAX;
    loop {
        let seen = probe.read()?.of(clock);
        let (least, most) = seen.offset_ns();
        if most - least < offset_ns.abs() / 4 || Instant::now() >= deadline {
            return Ok(seen);
        }
    }
}

/// How fast a clock runs, at least and at most in per cent, and the last reading.
fn speed(probe: &mut Probe, clock: Clock) -> std::io::Result<((f64, f64), Seen)> {
    let deadline = Instant::now() + MEASURED_MAX;
    let first = probe.read()?.of(clock);
    loop {
        thread::sleep(SPAN);
        let seen = probe.read()?.of(clock);
        let speed = first.rate_percent(seen);
        if is_known(speed, speed.1) || Instant::now() >= deadline {
            return Ok((speed, seen));
        }
    }
}

fn is_known(speed: (f64, f64), percent: f64) -> bool {
    speed.1 - speed.0 <= percent * SPEED_KNOWN_TO
}

/// Whether a clock was seen right, and seen off by the offset.
fn both_sides(
    probe: &mut Probe,
    clock: Clock,
    offset_ns: i64,
    period: Duration,
) -> std::io::Result<(bool, bool)> {
    let deadline = Instant::now() + SIDES_SEEN_WITHIN + 8 * period;
    let mut sides = (false, false);
    while sides != (true, true) && Instant::now() < deadline {
        let offset = probe.read()?.of(clock).offset_ns();
        match (within(offset, 0), within(offset, offset_ns)) {
            (true, false) => sides.0 = true,
            (false, true) => sides.1 = true,
            // Too wide to tell, or in between, which it never should be.
            (true, true) | (false, false) => {}
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sides)
}

fn probed<T>(node: NodeId, result: std::io::Result<T>) -> Result<T, FaultError> {
    result.map_err(|source| FaultError::ClockProbe { node, source })
}

/// By how much something in one interval exceeds something in another.
fn difference(now: (i64, i64), then: (i64, i64)) -> (i64, i64) {
    (now.0 - then.1, now.1 - then.0)
}

fn within((least, most): (i64, i64), ns: i64) -> bool {
    least <= ns && ns <= most
}

fn contains((least, most): (f64, f64), percent: f64) -> bool {
    least - ROUNDING_PERCENT <= percent && percent <= most + ROUNDING_PERCENT
}

fn in_ms((least, most): (i64, i64)) -> String {
    format!("{:.3} to {:.3} ms", least as f64 / 1e6, most as f64 / 1e6)
}

fn in_percent((least, most): (f64, f64)) -> String {
    format!("{least:.1} to {most:.1} %")
}

fn in_words((right, off): (bool, bool), offset_ns: i64) -> String {
    let seen = |yes: bool| if yes { "seen" } else { "not seen" };
    format!("{} right, {} {} ms off", seen(right), seen(off), offset_ns / 1_000_000)
}
