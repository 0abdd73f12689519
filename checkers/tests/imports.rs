//! Histories of other formats: what they are read as, what is wrong with them, and that an export says the same.

mod random;

use checkers::history::{Completion, Event, Format, MicroOp, Op, Reply};
use checkers::{Budget, Checker, Evidence, Expectations, History, Linearizable, Verdict};
use random::{Shape, for_all};

fn read(text: &str) -> History {
    let (history, warnings) = History::parse_any(text, "history").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, []);
    history
}

fn error(text: &str) -> String {
    History::parse_any(text, "history").expect_err(text).to_string()
}

/// Each operation as `process key: request -> outcome`.
fn operations(history: &History) -> Vec<String> {
    let shown = |completion: &Option<Completion>| match completion {
        Some(Completion::Ok(reply)) => format!("{reply:?}"),
        Some(Completion::Fail { reason }) => format!("fail {reason}"),
        Some(Completion::Info { reason }) => format!("info {reason}"),
        None => "open".to_owned(),
    };
    history
        .operations()
        .iter()
        .map(|operation| {
            let key = operation.op.key().unwrap_or("-");
            format!("{} {key}: {} -> {}", operation.process.0, operation.op, shown(&operation.completion))
        })
        .collect()
}

fn verdict(history: &History) -> Verdict {
    let evidence =
        Evidence { history: history.clone(), traces: Vec::new(), expectations: Expectations::default() };
    Linearizable.check(&evidence, Budget::default()).verdict
}

#[test]
fn jepsen_edn_with_independent_keys() {
    let text = "\
{:index 0, :time 10, :type :invoke, :process 0, :f :write, :value [\"x\" 3]}
{:type :info, :process :nemesis, :f :start-partition, :value nil}
{:type :invoke, :process 1, :f :read, :value [:y nil], :time 11}
{:type :ok, :process 0, :f :write, :value [\"x\" 3], :time 12}
{:type :ok, :process 1, :f :read, :value [:y nil], :time 12}
{:type :invoke, :process 0, :f :cas, :value [\"x\" [3 4]], :time 13}
{:type :ok, :process 0, :f :cas, :value [\"x\" [3 4]], :time 14}
{:type :invoke, :process 0, :f :cas, :value [\"x\" [3 4]], :time 15}
{:type :fail, :process 0, :f :cas, :value [\"x\" [3 4]], :time 16}
{:type :invoke, :process 0, :f :cas, :value [7 [3 4]], :time 17}
{:type :fail, :process 0, :f :cas, :value [7 [3 4]], :error :no-leader, :time 18}
{:type :invoke, :process 0, :f :write, :value [7 1], :time 19}
{:type :info, :process 0, :f :write, :value [7 1], :error [:timeout 5], :time 20}
";
    let expected = [
        "0 x: write 3 -> Write",
        "1 y: read -> Read { value: None }",
        "0 x: cas 3 4 -> Swapped",
        "0 x: cas 3 4 -> Mismatch",
        "0 7: cas 3 4 -> fail :no-leader",
        "0 7: write 1 -> info [:timeout 5]",
    ];
    assert_eq!(Format::of(text), Format::JepsenEdn);
    let history = read(text);
    assert_eq!(operations(&history), expected);
    // The order of the events is the order of time: equal stamps are moved apart.
    assert_eq!(history.events().iter().map(Event::time).take(5).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    // And a finding points to the line of the file.
    assert_eq!(history.locate(history.operations()[1].invoke_event).line, 3);
    let in_a_vector = format!("[{text}]");
    assert_eq!(operations(&read(&in_a_vector)), expected);
}

#[test]
fn jepsen_edn_without_keys_and_with_tags() {
    let text = "\
#jepsen.history.Op{:process 0, :type :invoke, :f :cas, :value [nil 1], :error nil}
";
    assert_eq!(error(text), "history line 1, field `:value`: nil where a value is needed");
    let text = "\
#jepsen.history.Op{:process 0, :type :invoke, :f :cas, :value [2 1]}
#jepsen.history.Op{:process 0, :type :ok, :f :cas, :value [2 1]}
#jepsen.history.Op{:process 0, :type :invoke, :f :read, :value nil}
#jepsen.history.Op{:process 0, :type :ok, :f :read, :value 1}
";
    assert_eq!(operations(&read(text)), ["0 x: cas 2 1 -> Swapped", "0 x: read -> Read { value: Some(1) }"]);
}

#[test]
fn jepsen_transactions_and_collections() {
    let text = "\
{:process 0, :type :invoke, :f :txn, :value [[:append 5 1] [:r \"y\" nil]]}
{:process 0, :type :ok, :f :txn, :value [[:append 5 1] [:r \"y\" [1 2]]]}
";
    let history = read(text);
    let Some(Completion::Ok(Reply::Txn { ops })) = &history.operations()[0].completion else {
        panic!("{history:?}")
    };
    assert_eq!(
        ops,
        &[
            MicroOp::Append { key: "5".into(), value: 1 },
            MicroOp::Read { key: "y".into(), values: Some(vec![1, 2]) }
        ]
    );
    let text = "\
{:process 0, :type :invoke, :f :read, :value nil}
{:process 0, :type :ok, :f :read, :value nil}
{:process 0, :type :invoke, :f :add, :value 1}
{:process 0, :type :ok, :f :add, :value 1}
{:process 0, :type :invoke, :f :read, :value nil}
{:process 0, :type :ok, :f :read, :value #{1}}
";
    let history = read(text);
    assert_eq!(history.header().workload, "set");
    assert_eq!(
        operations(&history),
        [
            "0 x: read -> ReadList { values: [] }",
            "0 x: add 1 -> Add",
            "0 x: read -> ReadList { values: [1] }"
        ]
    );
}

#[test]
fn jepsen_log_lines_among_others() {
    let text = "\
INFO  jepsen.core - Worker 0 starting
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 0\t:invoke\t:read\tnil
2026-01-01 12:00:00,000 INFO  jepsen.util: 1   :invoke :cas    [4 2]
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 1\t:fail\t:cas\t[4 2]
INFO  jepsen.util - 1\t:invoke\t:write\t4
INFO  jepsen.util - 1\t:info\t:write\t4\tconnection refused
INFO  jepsen.util - 2\t:invoke\t:cas\t[4 2]
INFO  jepsen.util - 2\t:fail\t:cas\t:timed-out
";
    assert_eq!(Format::of(text), Format::JepsenLog);
    assert_eq!(
        operations(&read(text)),
        [
            "0 x: read -> fail :timed-out",
            "1 x: cas 4 2 -> Mismatch",
            "1 x: write 4 -> info connection refused",
            "2 x: cas 4 2 -> fail :timed-out",
        ]
    );
    assert_eq!(
        error(&text.replace("[4 2]\nINFO  jepsen.util - 1\t:inv", "[4 2]\nINFO  jepsen.util - one\t:inv")),
        "history line 7, field `:process`: `one` is not a process"
    );
}

#[test]
fn porcupine_strings_are_cut_into_what_was_written() {
    let row = |kind: &str, function: &str, value: &str| {
        format!("{{:process 0, :type :{kind}, :f :{function}, :key \"k\", :value {value}}}\n")
    };
    let text = |read: &str| {
        row("invoke", "append", "\"ab\"")
            + &row("ok", "append", "\"ab\"")
            + &row("invoke", "put", "\"c\"")
            + &row("ok", "put", "\"c\"")
            + &row("invoke", "append", "\"ab\"")
            + &row("ok", "append", "\"ab\"")
            + &row("invoke", "get", "nil")
            + &row("ok", "get", read)
    };
    assert_eq!(Format::of(&text("\"\"")), Format::PorcupineKv);
    for (read, expected) in [
        ("\"cab\"", Verdict::Valid),
        ("\"abcab\"", Verdict::Invalid),
        ("\"c\"", Verdict::Invalid),
        ("\"\"", Verdict::Invalid),
        ("\"cabx\"", Verdict::Invalid),
    ] {
        let (history, warnings) = History::parse_any(&text(read), "history").expect(read);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(verdict(&history), expected, "{read}");
        assert_eq!(verdict(&History::parse_any(&history.to_jepsen_edn(), "edn").expect(read).0), expected);
    }
    let ambiguous = text("\"cab\"").replace("\"c\"", "\"a\"").replacen("\"ab\"", "\"b\"", 2);
    let ambiguous = ambiguous.replace("\"cab\"", "\"abab\"");
    assert!(error(&ambiguous).contains("in several ways"), "{}", error(&ambiguous));
}

#[test]
fn damage_is_named_by_line_and_field() {
    let invoke = "{:process 0, :type :invoke, :f :read, :value nil}";
    let ok = "{:process 0, :type :ok, :f :read, :value 1}";
    let cases = [
        (format!("{invoke}\n{invoke}\n"), "line 2, field `process`: process 0 has an open operation already"),
        (format!("{ok}\n"), "line 1, field `:process`: process 0 has no open operation"),
        (
            format!("{invoke}\n{}\n", ok.replace(":ok", ":okay")),
            "line 2, field `:type`: `:okay` is not a type; there are :invoke, :ok, :fail and :info",
        ),
        (
            format!("{invoke}\n{}\n", ok.replace(":read", ":write")),
            "line 2, field `:f`: `:write` completes an operation that began as `:read`",
        ),
        (format!("{}\n", invoke.replace(":f :read, ", "")), "line 1, field `:f`: missing"),
        (
            format!("{}\n", invoke.replace(":read", ":nap")),
            "line 1, field `:f`: `:nap` is not an operation; there are :read, :write, :cas, :delete, :append, :add, :enqueue, :dequeue, :acquire, :release and :txn",
        ),
        (format!("{}\n", invoke.replace(" 0", " -1")), "line 1, field `:process`: -1 is not a process"),
        (format!("{invoke}\n{}\n", &ok[..20]), "line 2: not EDN: the text ends inside a form"),
        (format!("{invoke}\n{}\n{ok}", &ok[..20]), "line 2: not EDN: the text ends inside a form"),
        (
            format!("{invoke}\n7\n"),
            "line 2: `7` is not an event; an event is a map such as {:process 0, :type :invoke, …}",
        ),
        (format!("[{invoke}] {ok}"), "line 1: there is more after the vector of events"),
    ];
    for (text, expected) in cases {
        assert_eq!(error(&text), format!("history {expected}"), "{text}");
    }
}

#[test]
fn a_truncated_last_line_is_a_warning() {
    let invoke = "{:process 0, :type :invoke, :f :write, :value 17}";
    let whole = format!("{invoke}\n{}", invoke.replace("0", "1"));
    let cut = |text: &str| {
        let (history, warnings) = History::parse_any(text, "history").expect(text);
        assert_eq!(history.operations().len(), 1, "{text}");
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected = "history line 2: the last line is incomplete and was left out; the writer was cut short";
    for end in invoke.len() + 2..whole.len() {
        assert_eq!(cut(&whole[..end]), [expected]);
        assert_eq!(cut(&format!("[{}", &whole[..end])), [expected]);
    }
    let log = "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t:ok\t:cas\t[1";
    assert_eq!(cut(log), [expected]);
}

#[test]
fn values_that_are_no_numbers_get_one_each() {
    let text = "\
{:process 0, :type :invoke, :f :write, :value \"a\"}
{:process 0, :type :ok, :f :write, :value \"a\"}
{:process 0, :type :invoke, :f :read, :value nil}
{:process 0, :type :ok, :f :read, :value \"a\"}
{:process 0, :type :invoke, :f :read, :value nil}
{:process 0, :type :ok, :f :read, :value -1}
";
    let (history, warnings) = History::parse_any(text, "history").expect("well-formed");
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "history line 1: the value \"a\" is shown as 9223372036854775808; others like it get the numbers after it"
        ]
    );
    let Op::Write { value, .. } = history.operations()[0].op else { panic!("{history:?}") };
    let read = |index: usize| match history.operations()[index].reply() {
        Some(Reply::Read { value }) => *value,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(1), Some(value));
    assert_ne!(read(2), Some(value));
}

/// Reads an export back; the operations must be the same but for their times, and so must the verdict.
fn export_says_the_same(history: &History) {
    let exported = history.to_jepsen_edn();
    let (again, warnings) =
        History::parse_any(&exported, "export").unwrap_or_else(|error| panic!("{error}\n{exported}"));
    assert_eq!(warnings, []);
    assert_eq!(again.operations().len(), history.operations().len());
    assert_eq!(verdict(&again), verdict(history), "{exported}");
    // What was read back has no equal stamps, so from here on nothing changes any more.
    let exported_again = again.to_jepsen_edn();
    let (third, _) = History::parse_any(&exported_again, "export").expect("our export can be read");
    assert_eq!(third.to_jepsen_edn(), exported_again);
}

#[test]
fn an_export_read_back_has_the_same_verdict() {
    for_all(3_000, Shape { operations: 12, clients: 4, values: 4, ties: true }, export_says_the_same);
}

#[test]
fn an_export_of_unique_values_read_back_has_the_same_verdict() {
    for_all(3_000, Shape { operations: 20, clients: 4, values: 200, ties: true }, export_says_the_same);
}
