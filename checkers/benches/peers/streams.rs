//! The stream on runs of growing length: how many operations it judges in a second of one core, and what it keeps in
//! memory at most, which depends on what is open and not on what has been.
//!
//! The events of a run are made and judged in batches, so that ten million operations need not be held. Only
//! judging is timed, and only what the stream allocates is counted.

use std::time::Duration;

use checkers::history::Event;
use checkers::linearizable::StreamChecker;

use crate::heap;
use crate::peers::load::{Load, perform_for};
use crate::rows::{memory, processor_time, significant};

const LENGTHS: [usize; 3] = [100_000, 1_000_000, 10_000_000];

/// Clients, and how many in a hundred operations never return.
const RUNS: [(usize, u64); 4] = [(10, 0), (10, 1), (100, 0), (100, 1)];

const BATCH: usize = 8_192;

/// The table, without the runs whose names do not hold `only`.
pub(crate) fn table(only: &str) -> String {
    let mut table = String::from("| as a stream, unique values |");
    for operations in LENGTHS {
        table.push_str(&format!(" {} operations |", significant(operations as f64)));
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(LENGTHS.len()));
    for (clients, never_return_percent) in RUNS {
        let lost = if never_return_percent == 0 { "" } else { ", 1 % never return" };
        let name = format!("as a stream, {clients} clients{lost}");
        if !name.contains(only) {
            continue;
        }
        table.push_str(&format!("\n| {clients} clients{lost} |"));
        for operations in LENGTHS {
            eprintln!("{name}, {operations} operations");
            let cell = measure(Load { never_return_percent, ..Load::new(operations, clients, 1) });
            table.push_str(&format!(" {} |", cell.show(operations)));
        }
    }
    table.push('\n');
    table
}

struct Cell {
    time: Duration,
    bytes: usize,
    in_doubt: usize,
}

impl Cell {
    fn show(&self, operations: usize) -> String {
        let rate = operations as f64 / self.time.as_secs_f64();
        let figures = format!("{} M a second, {}", significant(rate / 1e6), memory(self.bytes as f64));
        if self.in_doubt == 0 {
            return figures;
        }
        let each = self.bytes as f64 / self.in_doubt as f64;
        format!("{figures}: {} in doubt, {} bytes each", significant(self.in_doubt as f64), significant(each))
    }
}

/// Judges a valid run.
fn measure(load: Load) -> Cell {
    let mut stream = StreamChecker::new();
    let mut batch: Vec<Event> = Vec::with_capacity(BATCH);
    let mut time = Duration::ZERO;
    let (mut bytes, mut bytes_max) = (0, 0);
    let mut judge = |batch: &mut Vec<Event>| {
        let before = heap::mark();
        let start = processor_time();
        for event in &*batch {
            assert_eq!(stream.on_event(event), None, "the run is valid");
        }
        time += processor_time() - start;
        bytes_max = bytes_max.max(bytes + heap::most() - before);
        bytes = bytes + heap::mark() - before;
        batch.clear();
    };
    perform_for(load, |_, event| {
        batch.push(event);
        if batch.len() == BATCH {
            judge(&mut batch);
        }
    });
    judge(&mut batch);
    Cell { time, bytes: bytes_max, in_doubt: stream.in_doubt() }
}
