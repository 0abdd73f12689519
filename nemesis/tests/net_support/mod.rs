//! Runs tests that need a process without threads, which libtest cannot give them.
//!
//! Speaks as libtest does: a filter as first argument, a line for each test, and the same last line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nemesis::net::doctor;

/// A test: its name and what it does with what all tests share.
pub(crate) type Case<T> = (&'static str, fn(&T));

/// The TUN device to use.
pub(crate) fn tun() -> PathBuf {
    std::env::var_os("HARNESS_TUN").map_or_else(|| "/dev/net/tun".into(), PathBuf::from)
}

/// Ends the process where the machine cannot have a sandbox: with success on a developer's machine, as what was not
/// tried has not failed; with failure in CI, where nobody would read the reason.
pub(crate) fn require_tier() {
    let report = doctor::probe(&tun());
    if report.tier.is_some() {
        return;
    }
    for reason in report.reasons() {
        println!("skipped: {reason}");
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    println!(
        "\ntest result: {}. 0 passed; {}",
        if in_ci { "FAILED" } else { "ok" },
        rest(u32::from(in_ci), 0)
    );
    std::process::exit(if in_ci { 101 } else { 0 });
}

/// Runs the tests whose names contain the filter.
pub(crate) fn run<T>(cases: &[Case<T>], shared: &T) -> ! {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in cases {
            println!("{name}: test");
        }
        std::process::exit(0);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let chosen = cases.iter().filter(|(name, _)| wanted(name)).collect::<Vec<_>>();

    println!("\nrunning {} tests", chosen.len());
    let mut failed = Vec::new();
    for &&(name, test) in &chosen {
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| test(shared))).is_ok();
        println!("test {name} ... {} ({:.2?})", if passed { "ok" } else { "FAILED" }, began.elapsed());
        if !passed {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    let rest = rest(failed.len() as u32, cases.len() - chosen.len());
    println!("\ntest result: {word}. {} passed; {rest}\n", chosen.len() - failed.len());
    std::process::exit(if failed.is_empty() { 0 } else { 101 });
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen within {within:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn rest(failed: u32, filtered_out: usize) -> String {
    format!("{failed} failed; 0 ignored; 0 measured; {filtered_out} filtered out")
}
