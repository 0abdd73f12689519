//! `harness doctor`: what this machine can do, and why not.

use std::path::PathBuf;
use std::process::ExitCode;

use nemesis::net::doctor;

use crate::error::Result;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    tun: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything else: it forks, and a process with threads must not.
    let report = doctor::probe(&args.tun);
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        println!("  {:<4} {:<width$}  {}", if check.ok { "ok" } else { "NO" }, check.name, check.detail);
        if let Some(help) = &check.help {
            println!("  {:<4} {:<width$}  help: {help}", "", "");
        }
    }
    match report.tier {
        Some(tier) => {
            println!("\n  tier {tier}: every fault of `harness list faults` works on this machine");
            Ok(ExitCode::SUCCESS)
        }
        None => {
            println!("\n  no tier: this machine cannot build the sandbox; see `help` above");
            Ok(ExitCode::from(255))
        }
    }
}
