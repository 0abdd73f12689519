//! The checker beside others: the same histories, the same run, one thread each.
//! `cargo bench -p checkers`, with `-- --write` to renew the table in `checkers/README.md`.
//!
//! Each measurement is a process of its own, which makes its history from the seed, judges it and reports the time
//! and the most heap memory that judging took beyond the history. It is repeated while there is time, and the
//! median counts. One that exceeds the time or memory limit is ended and written down as no answer. A verdict
//! that is not the expected one ends the benchmark.

#[path = "../tests/peers/mod.rs"]
mod peers;

#[path = "peers/heap.rs"]
mod heap;
#[path = "peers/rows.rs"]
mod rows;
#[path = "peers/streams.rs"]
mod streams;

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

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
                rows::measure(&next(), &next());
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

/// Measures in a process that can be ended.
fn run(row: &Row, checker: &str, options: &Options) -> Cell {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", &(options.memory_mb * 1024).to_string()])
        .arg(this)
        .args(["--measure", row.name, checker])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell can be started");
    let mut output = child.stdout.take().expect("the output is a pipe");
    let mut complaints = child.stderr.take().expect("the complaints are a pipe");
    // Making the longest history takes a while, and only judging is limited.
    let deadline = Instant::now() + Duration::from_secs(options.limit_s + row.preparation_s);
    let status = loop {
        match child.try_wait().expect("the child can be waited for") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().expect("the child can be ended");
                child.wait().expect("the child can be waited for");
                return Cell::NoAnswer { limit_s: options.limit_s };
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut text = String::new();
    output.read_to_string(&mut text).expect("the child writes text");
    let mut complaint = String::new();
    complaints.read_to_string(&mut complaint).expect("the child writes text");
    if let Some(measured) = Measured::parse(&text) {
        assert!(measured.expected, "{}: {checker} gave the wrong verdict", row.name);
        return Cell::Measured(measured);
    }
    if complaint.contains("memory allocation") {
        return Cell::NoMemory { limit_mb: options.memory_mb };
    }
    if complaint.contains("overflowed its stack") {
        return Cell::NoStack;
    }
    panic!("{}: {checker} ended with {status} and said {complaint}", row.name)
}
