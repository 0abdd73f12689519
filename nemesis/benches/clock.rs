//! What bending a process's clocks costs it: a reading of the clock, a wait, and any other system call.
//!
//! ```text
//! cargo bench -p nemesis --bench clock
//! ```
//! The measured program is this binary again: as it is, under the hook with no clock bent, and with both bent. The kinds
//! take turns, and of each the best batch counts: it is the one that nothing else disturbed.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use nemesis::clock::{Change, Child, Clock, Level, NodeClock, probe, test};

const MEASURED: &str = "measured";
const TURNS: usize = 5;
const BATCHES: usize = 20;
const READS_A_BATCH: u32 = 200_000;
const WAITS_A_BATCH: u32 = 100;
const CALLS_A_BATCH: u32 = 20_000;

/// The shortest sleep; most of it is the kernel's slack.
const WAIT: Duration = Duration::from_nanos(1);

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(MEASURED) => {
            measured();
            return Ok(());
        }
        Some(probe::ARGUMENT) => {
            probe::main();
            return Ok(());
        }
        _ => {}
    }
    if let Err(reason) = test(Level::Waits) {
        println!("skipped: {reason}; {}", reason.help);
        return Ok(());
    }
    let kinds = [
        ("native", None, false),
        ("hook, not bent", Some(Level::Reads), false),
        ("hook, bent", Some(Level::Reads), true),
        ("hook and traced waits, not bent", Some(Level::Waits), false),
        ("hook and traced waits, bent", Some(Level::Waits), true),
    ];
    let mut best = [[f64::MAX; 3]; 5];
    for _ in 0..TURNS {
        for (best, (_, level, is_bent)) in best.iter_mut().zip(kinds) {
            let measured = run(level, is_bent)?;
            *best = std::array::from_fn(|nth| best[nth].min(measured[nth]));
        }
    }
    println!("{:<32} {:>22} {:>22} {:>22}", "", "clock_gettime", "sleep of 1 ns", "other system call");
    for ((name, ..), figures) in kinds.iter().zip(&best) {
        print!("{name:<32}");
        for (figure, native) in figures.iter().zip(&best[0]) {
            print!(" {figure:>12.1} ns ×{:<5.2}", figure / native);
        }
        println!();
    }
    Ok(())
}

fn run(level: Option<Level>, is_bent: bool) -> io::Result<[f64; 3]> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(MEASURED).stdout(Stdio::piped());
    // It lives as long as the process that it bends.
    let clock = level.map(NodeClock::new).transpose()?;
    if let (Some(clock), true) = (&clock, is_bent) {
        clock.bend(Clock::Realtime, Change::Rate { percent: 99 })?;
        if level == Some(Level::Waits) {
            clock.bend(Clock::Monotonic, Change::Rate { percent: 99 })?;
        }
    }
    let mut child = match &clock {
        Some(clock) => clock.spawn(command)?,
        None => Child::plain(&mut command)?,
    };
    let mut text = String::new();
    child.stdout.take().expect("a pipe was asked for").read_to_string(&mut text)?;
    child.wait()?;
    let figures = text.split_whitespace().map(|figure| figure.parse().expect("a number")).collect::<Vec<_>>();
    Ok(figures.try_into().expect("three figures"))
}

/// Measures itself, by the raw system call: the clock that nobody bends.
fn measured() {
    let read = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call fills the struct that it is given.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
        std::hint::black_box(time.tv_nsec);
    };
    let wait = || std::thread::sleep(WAIT);
    let call = || {
        // SAFETY: the call takes and gives integers.
        std::hint::black_box(unsafe { libc::syscall(libc::SYS_getppid) });
    };
    println!("{} {} {}", best(READS_A_BATCH, read), best(WAITS_A_BATCH, wait), best(CALLS_A_BATCH, call));
}

fn best(calls: u32, call: impl Fn()) -> f64 {
    let batch = |_| {
        let began = true_ns();
        (0..calls).for_each(|_| call());
        (true_ns() - began) as f64 / f64::from(calls)
    };
    (0..BATCHES).map(batch).fold(f64::MAX, f64::min)
}

fn true_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct that it is given.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
