//! The command line: one file a subcommand. Exit status as in Jepsen: 0 valid, 1 invalid, 2 unknown, 254 bad usage,
//! 255 trouble of the harness.

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;

use checkers::Verdict;
use clap::{Parser, Subcommand};
use nemesis::net::SandboxError;

use crate::error::{Error, Result};

mod check;
mod cluster_args;
mod compare;
mod doctor;
mod explain;
mod list;
mod replay;
mod save;
mod shrink;
mod simulate;
mod test;
mod up;

/// Boots a real Raft cluster as OS processes, hurts it while clients use it, records everything and judges it.
#[derive(Parser)]
#[command(name = "harness", version, max_term_width = 100, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str =
    "Exit status: 0 valid, 1 invalid, 2 unknown, 254 bad usage, 255 trouble of the harness.";

#[derive(Subcommand)]
enum Command {
    /// Run a cluster under faults and judge what happened
    Test(test::Args),
    /// Boot a cluster and keep it until Ctrl-C, for curl and for looking
    Up(up::Args),
    /// Run the same seeds under two configurations and say what differs
    Compare(Box<compare::Args>),
    /// Run many seeds of the same protocol in virtual time; boots nothing
    Simulate(simulate::Args),
    /// Judge recorded runs again; boots nothing
    Check(check::Args),
    /// Run a recorded run again, its faults at the events that they fell on, and tell how often the same came of it
    Replay(replay::Args),
    /// Find the smallest plan that still fails
    Shrink(shrink::Args),
    /// Keep a failure in results/saved, to be judged by every later build
    Save(save::Args),
    /// Tell the story of an invalid run: what was in force, who led, what clients saw, which rule that breaks
    Explain(explain::Args),
    /// Show the faults, checkers, situations, systems, workloads, scenarios and bugs there are
    List(list::Args),
    /// Say what this machine can do, and why not
    Doctor(doctor::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // A node of the cluster is this binary too; nothing of the harness runs in it.
    if args.next().is_some_and(|first| first == "raft-kv") {
        return cluster_under_test::cli::main_from(std::env::args_os().skip(1));
    }
    // So is what reads a node's clocks.
    if std::env::args_os().nth(1).is_some_and(|first| first == nemesis::clock::probe::ARGUMENT) {
        return nemesis::clock::probe::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors, and go to standard output.
            let status = if error.use_stderr() { 254 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    // The message of a panic has been printed by then. It is trouble of the harness, never a verdict.
    let outcome = catch_unwind(|| run(&cli.command))
        .unwrap_or_else(|_| Err(Error::harness("the harness panicked; this is a fault of its own")));
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(error.exit_status())
    })
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Test(args) => test::run(args),
        Command::Up(args) => up::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Check(args) => check::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Shrink(args) => shrink::run(args),
        Command::Save(args) => save::run(args),
        Command::Explain(args) => explain::run(args),
        Command::List(args) => list::run(args),
        Command::Doctor(args) => doctor::run(args),
    }
}

/// Prints on standard output. A reader that has seen enough, such as `head`, does not change how a command ends.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::harness(format!("failed to write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The exit status of a verdict.
fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(match verdict {
        Verdict::Valid => 0,
        Verdict::Invalid => 1,
        Verdict::Unknown => 2,
    })
}

/// A sandbox that cannot be entered.
fn refused(error: &SandboxError) -> Error {
    Error::harness(error).help(error.help())
}

/// How the user started this program, to print commands that can be typed again.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "harness".to_owned())
}

/// The path relative to the working directory, where that is shorter to type.
fn typed(path: &std::path::Path) -> String {
    let relative =
        std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok().map(ToOwned::to_owned));
    relative.as_deref().unwrap_or(path).display().to_string()
}

/// The runtime of clients; started only inside the sandbox, because a process with threads cannot enter one.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::harness(format!("failed to start the runtime: {error}")))
}

/// A seed for those who did not choose one. The run prints and records it.
fn fresh_seed() -> u64 {
    // Small enough to type. The clock is no source of secrets, and none is needed.
    crate::clock::monotonic_ns() / 1000 % 1_000_000
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
