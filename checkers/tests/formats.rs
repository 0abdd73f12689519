//! The formats: what is written is read back, and what is damaged is named by file, line and field.

use checkers::history::{
    Completion, Event, Evidence, FaultPhase, Header, MicroOp, NodeId, Op, Outcome, Phase, ProcessId, Receipt,
    Reply, write_line,
};
use checkers::{History, Trace};

const HEADER: &str =
    r#"{"format":1,"kind":"history","origin_ns":5,"system":"raft-kv","workload":"register","seed":7}"#;

fn header() -> Header {
    Header { origin_ns: 5, system: "raft-kv".into(), workload: "register".into(), seed: 7 }
}

/// One event of each type and each reply, at times that only grow.
fn every_event() -> Vec<Event> {
    let key = || "r1".to_owned();
    let append = || MicroOp::Append { key: key(), value: 1 };
    let completions = [
        (Op::Read { key: key() }, Completion::Ok(Reply::Read { value: None })),
        (Op::Write { key: key(), value: u64::MAX }, Completion::Ok(Reply::Write)),
        (Op::Cas { key: key(), from: 1, to: 2 }, Completion::Ok(Reply::Swapped)),
        (Op::Cas { key: key(), from: 1, to: 2 }, Completion::Ok(Reply::NotSwapped { seen: Some(3) })),
        (Op::Cas { key: key(), from: 1, to: 2 }, Completion::Ok(Reply::Mismatch)),
        (Op::Read { key: key() }, Completion::Ok(Reply::ReadList { values: vec![2, 1] })),
        (Op::Delete { key: key() }, Completion::Ok(Reply::Delete)),
        (Op::Append { key: key(), value: 1 }, Completion::Ok(Reply::Append)),
        (Op::Add { key: key(), value: 1 }, Completion::Ok(Reply::Add)),
        (Op::Enqueue { key: key(), value: 1 }, Completion::Ok(Reply::Enqueue)),
        (Op::Dequeue { key: key() }, Completion::Ok(Reply::Dequeue { value: Some(1) })),
        (Op::Dequeue { key: key() }, Completion::Ok(Reply::Dequeue { value: None })),
        (Op::Acquire { key: key() }, Completion::Ok(Reply::Acquire)),
        (Op::Release { key: key() }, Completion::Ok(Reply::Release)),
        (
            Op::Txn { ops: vec![append(), MicroOp::Read { key: key(), values: None }] },
            Completion::Ok(Reply::Txn {
                ops: vec![append(), MicroOp::Read { key: key(), values: Some(vec![1]) }],
            }),
        ),
        (Op::Read { key: key() }, Completion::Fail { reason: "no \"leader\"\n".into() }),
        (Op::Read { key: key() }, Completion::Info { reason: "timeout".into() }),
    ];
    let process = ProcessId(0);
    let mut events = vec![Event::Phase { time: 0, phase: Phase::Drive }];
    for ((op, completion), time) in completions.into_iter().zip(1..) {
        let node = Some(NodeId(2)).filter(|_| time > 1);
        events.push(Event::Invoke { time, process, node, op });
        events.push(Event::Complete { time, process, completion });
    }
    events.push(Event::Fault {
        time: 23,
        fault: "kill".into(),
        phase: FaultPhase::Inject,
        nodes: vec![NodeId(1), NodeId(3)],
        receipt: Receipt {
            outcome: Outcome::Installed,
            evidence: vec![Evidence {
                source: "waitid".into(),
                node: Some(NodeId(1)),
                seen: "signal 9".into(),
            }],
        },
    });
    events.push(Event::Death {
        time: 24,
        node: NodeId(4),
        status: "signal 6 (SIGABRT)".into(),
        crash: true,
        log: vec!["panicked".into()],
    });
    events.push(Event::Phase { time: 25, phase: Phase::End });
    events
}

fn text(events: &[Event]) -> String {
    let lines = std::iter::once(header().to_line()).chain(events.iter().map(write_line));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn a_history_is_read_back_as_it_was_written() {
    let events = every_event();
    let (history, warnings) =
        History::parse(&text(&events), "history.jsonl").expect("what we write is valid");
    assert_eq!(history, History::new(header(), events).expect("well-formed"));
    assert_eq!(warnings, []);
}

#[test]
fn lines_are_flat_and_in_a_stable_order() {
    let op = Op::Write { key: "r1".into(), value: 7 };
    let invoke = Event::Invoke { time: 12, process: ProcessId(3), node: Some(NodeId(2)), op };
    assert_eq!(
        write_line(&invoke),
        r#"{"time":12,"type":"invoke","process":3,"node":"n2","f":"write","key":"r1","value":7}"#
    );
    let ok = Event::Complete { time: 15, process: ProcessId(3), completion: Completion::Ok(Reply::Write) };
    assert_eq!(write_line(&ok), r#"{"time":15,"type":"ok","process":3,"reply":"write"}"#);
    let reply = Reply::NotSwapped { seen: None };
    let ok = Event::Complete { time: 15, process: ProcessId(3), completion: Completion::Ok(reply) };
    assert_eq!(write_line(&ok), r#"{"time":15,"type":"ok","process":3,"reply":"not-swapped","seen":null}"#);
    assert_eq!(header().to_line(), HEADER);
}

/// The error that a history of the header and these lines gives.
fn history_error(lines: &str) -> String {
    match History::parse(&format!("{HEADER}\n{lines}"), "history.jsonl") {
        Ok(_) => panic!("{lines} is no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_damaged_history_is_named_by_line_and_field() {
    let invoke = r#"{"time":1,"type":"invoke","process":3,"f":"read","key":"x"}"#;
    let ok = r#"{"time":2,"type":"ok","process":3,"reply":"read","value":1}"#;
    let cases = [
        (
            r#"{"time":"soon","type":"phase","phase":"end"}"#.to_owned(),
            "line 2, field `time`: invalid type: string \"soon\", expected u64",
        ),
        (r#"{"type":"phase","phase":"end"}"#.to_owned(), "line 2, field `time`: missing"),
        (
            r#"{"time":1,"type":"nap"}"#.to_owned(),
            "line 2, field `type`: `nap` is not a type; there are invoke, ok, fail, info, fault, death and phase",
        ),
        (
            r#"{"time":1,"type":"phase","phase":"lunch"}"#.to_owned(),
            "line 2, field `phase`: unknown variant `lunch`, expected one of `drive`, `recovery`, `final-reads`, `end`",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"f":"incr","key":"x"}"#.to_owned(),
            "line 2, field `f`: `incr` is not an operation; there are read, write, cas, delete, append, add, \
             enqueue, dequeue, acquire, release and txn",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"f":"txn","ops":[["w","x",1]]}"#.to_owned(),
            "line 2, field `ops`: `w` is not an operation of a transaction; there are append and r",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"f":"txn","ops":[["append","x",null]]}"#.to_owned(),
            "line 2, field `ops`: an append in a transaction needs one value",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"f":"txn","ops":[["r","x",[1]]]}"#.to_owned(),
            "line 2, field `ops`: a read of a request must be null",
        ),
        (
            [
                r#"{"time":1,"type":"invoke","process":3,"f":"txn","ops":[["r","x",null]]}"#,
                r#"{"time":2,"type":"ok","process":3,"reply":"txn","ops":[["r","y",[1]]]}"#,
            ]
            .join("\n"),
            "line 3, field `reply`: a txn cannot be answered so",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"node":"five","f":"read","key":"x"}"#.to_owned(),
            "line 2, field `node`: `five` is not a node; nodes are named n1, n2, …",
        ),
        (
            r#"{"time":1,"type":"invoke","process":3,"f":"write","key":"x","value":-1}"#.to_owned(),
            "line 2, field `value`: invalid value: integer `-1`, expected u64",
        ),
        (
            format!("{invoke}\n{}\n", r#"{"time":2,"type":"ok","process":3,"reply":"maybe"}"#),
            "line 3, field `reply`: `maybe` is not a reply; there are read, read-list, write, swapped, not-swapped, \
             mismatch, delete, append, add, enqueue, dequeue, acquire, release and txn",
        ),
        (
            format!("{invoke}\n{}\n", r#"{"time":2,"type":"ok","process":3,"reply":"read"}"#),
            "line 3, field `value`: missing",
        ),
        (
            format!("{invoke}\n{}\n", r#"{"time":2,"type":"ok","process":3,"reply":"swapped"}"#),
            "line 3, field `reply`: a read cannot be answered so",
        ),
        (
            format!("{invoke}\n{}\n", r#"{"time":0,"type":"ok","process":3,"reply":"read","value":1}"#),
            "line 3, field `time`: 0 is before 1, the time of the event above",
        ),
        (format!("{invoke}\n{invoke}\n"), "line 3, field `process`: process 3 has an open operation already"),
        (format!("{ok}\n"), "line 2, field `process`: process 3 has no open operation"),
        (
            format!("{invoke}\n{}\n{invoke}\n", r#"{"time":1,"type":"info","process":3,"reason":"timeout"}"#),
            "line 4, field `process`: process 3 was retired by an info and is used again",
        ),
        (format!("{invoke}\n\n{ok}\n"), "line 3: the line is empty"),
        (
            format!("{}\n{ok}\n", &invoke[..20]),
            "line 2: not a JSON object: EOF while parsing a string at column 20",
        ),
        (
            format!("{invoke}\n{}\n", &ok[..20]),
            "line 3: not a JSON object: EOF while parsing a string at column 20",
        ),
        (format!("{invoke}\nnonsense\n"), "line 3: not a JSON object: expected ident at column 2"),
    ];
    for (lines, expected) in cases {
        assert_eq!(history_error(&lines), format!("history.jsonl {expected}"), "{lines}");
    }
}

#[test]
fn a_damaged_header_is_named() {
    let error = |text: &str| History::parse(text, "history.jsonl").expect_err(text).to_string();
    assert_eq!(error(""), "history.jsonl line 1: the file ends before its header");
    assert_eq!(
        error(&HEADER.replace(":1,", ":2,")),
        "history.jsonl line 1, field `format`: version 2 is not known; this program reads 1"
    );
    assert_eq!(
        error(&HEADER.replace("\"history\"", "\"trace\"")),
        "history.jsonl line 1, field `kind`: expected `history`, found `trace`"
    );
    assert_eq!(error(&HEADER.replace("seed", "sed")), "history.jsonl line 1, field `seed`: missing");
}

/// Wherever a writer is cut short, the lines before count.
#[test]
fn a_truncated_last_line_is_a_warning() {
    let invoke = r#"{"time":1,"type":"invoke","process":3,"f":"read","key":"x"}"#;
    let ok = r#"{"time":2,"type":"ok","process":3,"reply":"read","value":1}"#;
    let whole = format!("{HEADER}\n{invoke}\n{ok}\n");
    let start_of_last = whole.len() - ok.len() - 1;
    for end in start_of_last + 1..whole.len() - 1 {
        let (history, warnings) = History::parse(&whole[..end], "history.jsonl").expect("a warning at most");
        assert_eq!(history.events().len(), 1, "{}", &whole[..end]);
        assert_eq!(
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["history.jsonl line 3: the last line is incomplete and was left out; the writer was cut short"]
        );
    }
    for end in [start_of_last, whole.len() - 1, whole.len()] {
        let (_, warnings) = History::parse(&whole[..end], "history.jsonl").expect("whole lines");
        assert_eq!(warnings, []);
    }
}

#[test]
fn a_damaged_trace_is_named_by_line_and_field() {
    let parse = |text: &str| Trace::parse(text, "nodes/n1/trace.jsonl", NodeId(1));
    let good = r#"{"format":1,"node":"n1","at":9,"event":"vote","term":2,"candidate":"n3","mood":"good"}"#;
    let (trace, warnings) = parse(&format!("{good}\n{}", &good[..30])).expect("unknown fields are ignored");
    assert_eq!((trace.lines().len(), warnings.len()), (1, 1));
    let cases = [
        (good.replace(":1,", ":3,"), "line 1, field `format`: version 3 is not known; this program reads 1"),
        (good.replace("\"n1\"", "\"n2\""), "line 1, field `node`: n2 has written into the trace of n1"),
        (good.replace("vote", "veto"), "line 1, field `event`: `veto` is not an event of format 1"),
        (good.replace("term", "tern"), "line 1, field `term`: missing"),
        (
            good.replace("\"n3\"", "3"),
            "line 1, field `candidate`: invalid type: integer `3`, expected a string",
        ),
        (
            r#"{"format":1,"node":"n1","at":9,"event":"restore","index":2,"state":"12"}"#.to_owned(),
            "line 1, field `state`: `12` is not 16 hexadecimal digits",
        ),
        (good.replace(":2,", ":9007199254740992,"), "line 1, field `term`: 9007199254740992 is too large"),
        (
            r#"{"format":1,"node":"n1","at":9,"event":"append","term":1,"prev_term":0,"first_index":0,"entries":[]}"#
                .to_owned(),
            "line 1, field `first_index`: no entry has index 0",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(&text).expect_err(&text).to_string();
        assert_eq!(error, format!("nodes/n1/trace.jsonl {expected}"));
    }
}

/// One line of each event, as a node writes it.
#[test]
fn every_trace_event_is_read() {
    let events = [
        r#""event":"boot","bug":null,"pre_vote":true,"check_quorum":true,"term":1,"vote":null,"snapshot_index":0,"last_index":0,"last_term":0,"torn_bytes":0"#,
        r#""event":"term","term":2"#,
        r#""event":"role","role":"pre_candidate","term":2"#,
        r#""event":"vote","term":2,"candidate":"n2""#,
        r#""event":"append","term":2,"prev_term":0,"first_index":1,"entries":[[2,"00000000000000ff"]]"#,
        r#""event":"truncate","from_index":1"#,
        r#""event":"durable","index":1,"entry_term":2"#,
        r#""event":"commit","term":2,"index":1,"entry_term":2"#,
        r#""event":"apply","index":1,"entry_term":2,"digest":"00000000000000ff","state":"ffffffffffffffff""#,
        r#""event":"snapshot","index":1,"entry_term":2,"origin":"taken","data":"00000000000000ff""#,
        r#""event":"restore","index":1,"state":"ffffffffffffffff""#,
    ];
    let text: String =
        events.iter().map(|event| format!("{{\"format\":1,\"node\":\"n1\",\"at\":9,{event}}}\n")).collect();
    let (trace, _) = Trace::parse(&text, "trace.jsonl", NodeId(1)).expect("each event is known");
    assert_eq!(trace.lines().len(), events.len());
}
