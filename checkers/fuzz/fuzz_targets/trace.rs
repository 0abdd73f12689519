//! The trace of a node: no text makes the reader panic.

#![no_main]

use checkers::Trace;
use checkers::history::NodeId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Trace::parse(text, "trace.jsonl", NodeId(1));
});
