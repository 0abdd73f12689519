//! The command line of the harness. Everything it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main()
}
