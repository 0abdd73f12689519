//! Porcupine's key-value log: no text makes the reader panic, and what it accepts can be exported and read back.

#![no_main]

use checkers::History;
use checkers::history::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok((history, _)) = History::parse_as(Format::PorcupineKv, text, "history") else { return };
    let exported = history.to_jepsen_edn();
    let (again, _) = History::parse_as(Format::JepsenEdn, &exported, "history").expect("our export can be read");
    assert_eq!(again.operations().len(), history.operations().len());
});
