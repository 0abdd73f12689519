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
    let report = doctor::probe(&args.tun);
    print!("{report}");
    Ok(if report.tier.is_some() { ExitCode::SUCCESS } else { ExitCode::from(255) })
}
