//! Bent clocks on real processes: what programs read, when their waits end, and what is left after a heal.
//!
//! This binary is the bent program as well: it becomes a probe, or waits, when its first argument says so.

#[allow(dead_code, reason = "part of it is for tests of the network")]
#[path = "../net_support/mod.rs"]
mod support;

mod faults;
mod hooked;
mod programs;
mod waiter;

use std::process::ExitCode;

use nemesis::clock::{Level, probe, test};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(probe::ARGUMENT) => return probe::main(),
        Some(waiter::ARGUMENT) => return waiter::main(),
        Some(faults::DOOMED) => return faults::doomed(),
        _ => {}
    }
    if let Err(reason) = test(Level::Waits) {
        println!("skipped: {reason}; {}", reason.help);
        println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    let cases = [hooked::CASES, programs::CASES, faults::CASES].concat();
    support::run(&cases, &())
}
