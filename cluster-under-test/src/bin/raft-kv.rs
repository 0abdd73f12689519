//! The stand-alone node.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_under_test::cli::main_from(std::env::args_os())
}
