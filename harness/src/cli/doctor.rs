//! `harness doctor`: what this machine can do, and why not.

use std::path::PathBuf;
use std::process::ExitCode;

use nemesis::capability::Capabilities;
use nemesis::faults::FAULTS;

use crate::error::Result;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    tun: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything else: it forks, and a process with threads must not.
    let machine = Capabilities::probe(&args.tun);
    let mut lines = Vec::new();
    for check in &machine.sandbox.checks {
        lines.push((check.ok, check.name.to_owned(), check.detail.clone(), check.help.clone()));
    }
    for (needs, found) in machine.all() {
        let name = format!("faults on {needs}");
        lines.push(match found {
            Ok(how) => (true, name, how.clone(), None),
            Err(lack) => (false, name, lack.reason.clone(), Some(lack.help.clone())),
        });
    }
    let width = lines.iter().map(|(_, name, ..)| name.len()).max().unwrap_or(0);
    for (ok, name, detail, help) in lines {
        println!("  {:<4} {name:<width$}  {detail}", if ok { "ok" } else { "NO" });
        if let Some(help) = help {
            println!("  {:<4} {:<width$}  help: {help}", "", "");
        }
    }
    let Some(tier) = machine.sandbox.tier else {
        println!("\n  no tier: this machine cannot build the sandbox; see `help` above");
        return Ok(ExitCode::from(255));
    };
    let works = FAULTS.iter().filter(|fault| machine.lack(fault.needs()).is_none()).count();
    println!("\n  tier {tier}: {works} of the {} faults of `harness list faults` work here", FAULTS.len());
    Ok(ExitCode::SUCCESS)
}
