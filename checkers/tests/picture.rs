//! The picture of a counterexample and its core in `findings.json`: what they hold, and how large they may become.

use checkers::history::NodeId;
use checkers::picture::{BYTES_MAX, draw, draw_first};
use checkers::{Budget, CHECKERS, Evidence, Expectations, Finding, History, Trace, check, finding};

const HEADER: &str =
    r#"{"format":1,"kind":"history","origin_ns":1000,"system":"s <&> t","workload":"register","seed":7}"#;

/// n1 was cut off at 40 ms and still answers p1 from its old state at 70 ms.
const STALE_READ: &str = r#"
{"time":10000000,"type":"invoke","process":0,"node":"n1","f":"write","key":"x","value":1}
{"time":20000000,"type":"ok","process":0,"reply":"write"}
{"time":40000000,"type":"fault","fault":"partition","phase":"inject","nodes":["n1"],"receipt":{"outcome":"installed","evidence":[]}}
{"time":50000000,"type":"invoke","process":2,"node":"n2","f":"write","key":"x","value":2}
{"time":60000000,"type":"ok","process":2,"reply":"write"}
{"time":61000000,"type":"invoke","process":3,"node":"n2","f":"read","key":"x"}
{"time":70000000,"type":"invoke","process":1,"node":"n1","f":"read","key":"x"}
{"time":71000000,"type":"ok","process":1,"reply":"read","value":1}
{"time":75000000,"type":"ok","process":3,"reply":"read","value":2}
{"time":80000000,"type":"fault","fault":"partition","phase":"heal","nodes":["n1"],"receipt":{"outcome":"installed","evidence":[]}}
"#;

const N1: &str = r#"{"format":1,"node":"n1","at":6000000,"event":"role","role":"leader","term":1}
{"format":1,"node":"n1","at":82000000,"event":"term","term":2}
"#;

const N2: &str = r#"{"format":1,"node":"n2","at":45000000,"event":"role","role":"leader","term":2}
"#;

fn evidence(events: &str, traces: &[&str]) -> Evidence {
    let text = format!("{HEADER}\n{}\n", events.trim());
    let (history, _) = History::parse(&text, "history.jsonl").expect("a well-formed history");
    let trace = |(text, number): (&&str, u16)| {
        let node = NodeId(number);
        let name = format!("nodes/{node}/trace.jsonl");
        Trace::parse(text, &name, node).expect("a well-formed trace").0
    };
    let traces = traces.iter().zip(1..).map(trace).collect();
    Evidence { history, traces, expectations: Expectations::default() }
}

fn judged(evidence: &Evidence) -> Vec<Finding> {
    check(CHECKERS, evidence, Budget::default())
}

/// Every tag is closed by its own, every attribute and every entity is complete.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        assert_entities(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}> has half an attribute");
        assert!(!tag.contains('<'), "<{tag}> begins twice");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a tag has a name"));
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(rest.trim(), "");
    assert!(open.is_empty(), "{open:?} are not closed");
}

fn assert_entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|entity| text[at..].starts_with(entity));
        assert!(known, "{}", &text[at..]);
    }
}

#[test]
fn a_stale_read_is_drawn_with_its_leaders_and_its_fault() {
    let evidence = evidence(STALE_READ, &[N1, N2]);
    let picture = draw_first(&evidence, &judged(&evidence)).expect("a stale read has a picture");
    assert_well_formed(&picture);
    for label in [
        "linearizable: stale read",
        "s &lt;&amp;&gt; t",
        "n1 · term 1",
        "n2 · term 2",
        "partition n1",
        ">p0<",
        ">p1<",
        "write 1  @n1",
        "write 2  @n2",
        "read → 1  @n1",
        "saw 1",
        "0.070 s",
        "prefers-color-scheme:dark",
    ] {
        assert!(picture.contains(label), "no `{label}` in\n{picture}");
    }
    assert!(!picture.contains("<script"));
    // p3's read is beside the core: it is there, without a label of its own.
    assert!(picture.contains("<title>read → 2  @n2</title>"));
    assert!(!picture.contains(">read → 2  @n2</text>"));
}

#[test]
fn the_same_evidence_gives_the_same_picture() {
    let evidence = evidence(STALE_READ, &[N1, N2]);
    let findings = judged(&evidence);
    assert_eq!(draw_first(&evidence, &findings), draw_first(&evidence, &judged(&evidence)));
}

#[test]
fn what_nodes_did_is_drawn_where_no_client_saw_it() {
    let one = r#"{"format":1,"node":"n1","at":6000000,"event":"role","role":"leader","term":2}"#;
    let other = r#"{"format":1,"node":"n2","at":9000000,"event":"role","role":"leader","term":2}"#;
    let events = r#"{"time":1,"type":"phase","phase":"drive"}"#;
    let evidence = evidence(events, &[&format!("{one}\n"), &format!("{other}\n")]);
    let picture = draw_first(&evidence, &judged(&evidence)).expect("two leaders have a picture");
    assert_well_formed(&picture);
    for label in ["election-safety: two leaders in a term", "leads term 2", "n1 · term 2", "n2 · term 2"] {
        assert!(picture.contains(label), "no `{label}` in\n{picture}");
    }
}

#[test]
fn nothing_is_drawn_of_a_valid_run() {
    let valid: String =
        STALE_READ.lines().filter(|line| !line.contains("process\":1")).collect::<Vec<_>>().join("\n");
    let evidence = evidence(&valid, &[N1, N2]);
    let findings = judged(&evidence);
    assert_eq!(draw_first(&evidence, &findings), None);
    assert!(findings.iter().all(|finding| draw(&evidence, finding).is_none()));
}

#[test]
fn a_long_history_does_not_make_a_large_picture() {
    // Between the overwritten value and its stale read lie thousands of operations of a hundred processes.
    let mut events = String::from(concat!(
        r#"{"time":1,"type":"invoke","process":0,"f":"write","key":"x","value":1}"#,
        "\n",
        r#"{"time":2,"type":"ok","process":0,"reply":"write"}"#,
        "\n"
    ));
    for number in 0..5000_u64 {
        let (time, process, value) = (10 + number * 1_000_000, 10 + number % 100, number + 2);
        events.push_str(&format!(
            "{{\"time\":{time},\"type\":\"invoke\",\"process\":{process},\"f\":\"write\",\"key\":\"x\",\"value\":{value}}}\n\
             {{\"time\":{},\"type\":\"ok\",\"process\":{process},\"reply\":\"write\"}}\n",
            time + 500_000
        ));
    }
    events.push_str("{\"time\":9000000000,\"type\":\"invoke\",\"process\":0,\"f\":\"read\",\"key\":\"x\"}\n");
    events.push_str("{\"time\":9000000001,\"type\":\"ok\",\"process\":0,\"reply\":\"read\",\"value\":1}\n");
    let evidence = evidence(&events, &[N1, N2]);
    let picture = draw_first(&evidence, &judged(&evidence)).expect("a stale read has a picture");
    assert_well_formed(&picture);
    assert!(picture.len() <= BYTES_MAX, "{} bytes", picture.len());
}

#[test]
fn findings_hold_the_core_beside_the_anomaly() {
    let evidence = evidence(STALE_READ, &[N1, N2]);
    let text = finding::to_json(&judged(&evidence), &evidence);
    let file: serde_json::Value = serde_json::from_str(&text).expect("findings are JSON");
    let core = &file["findings"][0]["anomalies"][0]["core"];
    let operations = core["operations"].as_array().expect("a core has operations");
    assert_eq!(operations.len(), 3, "{core:#}");
    let read = operations.last().expect("the read came last");
    assert_eq!(
        *read,
        serde_json::json!({
            "process": 1, "node": "n1", "f": "read", "key": "x",
            "invoked_ns": 70_000_000, "completed_ns": 71_000_000,
            "completion": {"type": "ok", "reply": "read", "value": 1},
            "lines": [8, 9],
        })
    );
}

/// Appends to one list by transactions or by single operations, and in the end a read that misses one of them.
fn long_list(is_txn: bool) -> String {
    use std::fmt::Write;
    let mut events = String::new();
    let mut happen = |process: u64, time: u64, op: String, reply: String| {
        writeln!(events, r#"{{"time":{time},"type":"invoke","process":{process},"node":"n1",{op}}}"#)
            .expect("a string takes all");
        writeln!(events, r#"{{"time":{},"type":"ok","process":{process},{reply}}}"#, time + 9_000_000)
            .expect("a string takes all");
    };
    for value in 1..=40 {
        let (op, reply) = if is_txn {
            let ops = format!(r#""ops":[["append","x",{value}],["append","y",{value}]]"#);
            (format!(r#""f":"txn",{ops}"#), format!(r#""reply":"txn",{ops}"#))
        } else {
            (format!(r#""f":"append","key":"x","value":{value}"#), r#""reply":"append""#.to_owned())
        };
        happen(value % 3, value * 10_000_000, op, reply);
    }
    let seen = |missing: u64| {
        let seen: Vec<String> =
            (1..=40).filter(|value| *value != missing).map(|value| value.to_string()).collect();
        seen.join(",")
    };
    for (process, missing) in [(5, 0), (6, 37)] {
        let (op, reply) = if is_txn {
            let read = |seen: &str| format!(r#""ops":[["r","x",{seen}],["r","y",null]]"#);
            let told = format!(r#""ops":[["r","x",[{0}]],["r","y",[{0}]]]"#, seen(missing));
            (format!(r#""f":"txn",{}"#, read("null")), format!(r#""reply":"txn",{told}"#))
        } else {
            let values = seen(missing);
            (r#""f":"read","key":"x""#.to_owned(), format!(r#""reply":"read-list","values":[{values}]"#))
        };
        happen(process, 370_000_000 + process * 10_000_000, op, reply);
    }
    events
}

#[test]
fn long_lists_are_drawn_by_their_ends() {
    for is_txn in [false, true] {
        let mut evidence = evidence(&long_list(is_txn), &[N1]);
        let text = HEADER.replace("\"register\"", "\"append-list\"");
        let text = format!("{text}\n{}", long_list(is_txn));
        evidence.history = History::parse(&text, "history.jsonl").expect("a well-formed history").0;
        let picture = draw_first(&evidence, &judged(&evidence)).expect("a lost append has a picture");
        assert_well_formed(&picture);
        // What is missing shows.
        assert!(picture.contains("[1 … 36, 38 … 40]"), "{picture}");
        assert!(!picture.contains("19, 20, 21"), "{picture}");
    }
}
