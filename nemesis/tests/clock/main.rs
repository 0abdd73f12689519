//! Bent clocks on real processes: what programs read, when their waits end, and what is left after a heal.
//!
//! This binary is the bent program as well: it becomes a probe, or waits, when its first argument says so.

#[path = "../net_support/mod.rs"]
mod support;

use std::process::ExitCode;

use nemesis::clock::{self, Level, probe};

mod hooked;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(probe::ARGUMENT) => return probe::main(),
        Some(hooked::PROGRAM) => return hooked::program(),
        _ => {}
    }
    let cases = hooked::CASES;
    support::run(cases, &())
}
