//! The checker beside others: the same histories, the same run, one thread each.
//! `cargo bench -p checkers`, with `-- --write` to renew the table in `checkers/README.md`.
//!
//! Each measurement is a process of its own, which makes its history from the seed, judges it and reports the processor
//! time and the most heap memory that judging took beyond the history. It is repeated while there is time, each time
//! with memory fresh from the system, and the median counts. One that exceeds the time or memory limit is ended and
//! written down as no answer. A verdict that is not the expected one ends the benchmark.

#[path = "../tests/peers/mod.rs"]
mod peers;

#[path = "peers/heap.rs"]
mod heap;
#[path = "peers/rows.rs"]
mod rows;
#[path = "peers/streams.rs"]
mod streams;

use std::process::{Command, ExitCode};

use rows::{CHECKERS, Cell, Measured, REFERENCE, ROWS, Row};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

struct Options {
    limit_s: u64,
    memory_mb: u64,
    /// Rows whose name holds this.
    only: String,
    write: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options { limit_s: 10, memory_mb: 6_000, only: String::new(), write: false };
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            // Cargo tells benchmarks apart from tests so.
            "--bench" => {}
            "--write" => options.write = true,
            "--only" => options.only = next(),
            "--limit-s" => options.limit_s = next().parse().unwrap_or(options.limit_s),
            "--memory-mb" => options.memory_mb = next().parse().unwrap_or(options.memory_mb),
            "--measure" => {
                rows::measure(&next(), &next(), next().parse().unwrap_or(options.limit_s));
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("usage: peers [--write] [--only TEXT] [--limit-s N] [--memory-mb N]");
                return ExitCode::from(254);
            }
        }
    }
    let table = format!("{}\n{}", table(&options), streams::table(&options.only));
    println!("{table}");
    if options.write {
        rows::write_readme(&table);
    }
    ExitCode::SUCCESS
}

fn table(options: &Options) -> String {
    let mut table = String::from("| history |");
    for checker in CHECKERS {
        table.push_str(&format!(" {} |", checker.name));
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(CHECKERS.len()));
    for row in ROWS.iter().filter(|row| row.name.contains(&options.only)) {
        if !row.is_available() {
            eprintln!("skipped: {}: its histories are not there", row.name);
            continue;
        }
        let cells: Vec<Cell> = CHECKERS
            .iter()
            .map(|checker| {
                eprintln!("{}: {}", row.name, checker.name);
                if row.leaves_out(checker) { Cell::LeftOut } else { run(row, checker.name, options) }
            })
            .collect();
        table.push_str(&format!("\n| {} |", row.name));
        for (column, cell) in cells.iter().enumerate() {
            // Ours is not compared with itself.
            let reference = if column <= REFERENCE { cell } else { &cells[REFERENCE] };
            table.push_str(&format!(" {} |", cell.show(reference)));
        }
    }
    table.push('\n');
    table
}

/// Measures in a process that ends when it has used too much. The limits are of processor time and memory, so a
/// busy machine gives the same answers, only later.
fn run(row: &Row, checker: &str, options: &Options) -> Cell {
    let this = std::env::current_exe().expect("a running program has a path");
    let output = Command::new("sh")
        .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", &(options.memory_mb * 1024).to_string()])
        .arg(this)
        .args(["--measure", row.name, checker, &options.limit_s.to_string()])
        .output()
        .expect("a shell can be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    if let Some(measured) = Measured::parse(&String::from_utf8_lossy(&output.stdout)) {
        assert!(measured.expected, "{}: {checker} gave the wrong verdict", row.name);
        return Cell::Measured(measured);
    }
    if complaint.contains("memory allocation") {
        return Cell::NoMemory { limit_mb: options.memory_mb };
    }
    if complaint.contains("overflowed its stack") {
        return Cell::NoStack;
    }
    if output.status.code() == Some(rows::NO_ANSWER) {
        return Cell::NoAnswer { limit_s: options.limit_s };
    }
    panic!("{}: {checker} ended with {} and said {complaint}", row.name, output.status)
}
