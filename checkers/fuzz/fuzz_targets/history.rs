//! Our own history: no text makes the reader panic, and what it accepts is written back as it was read.

#![no_main]

use checkers::History;
use checkers::history::write_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok((history, _)) = History::parse(text, "history.jsonl") else { return };
    let lines = std::iter::once(history.header().to_line()).chain(history.events().iter().map(write_line));
    let written: String = lines.map(|line| line + "\n").collect();
    let (again, warnings) = History::parse(&written, "history.jsonl").expect("what was written can be read");
    assert_eq!(again, history);
    assert_eq!(warnings, []);
});
