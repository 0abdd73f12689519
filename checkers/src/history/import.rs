//! Histories that others recorded, told apart by what they look like and read into ours.
//!
//! In all of them the order of the events is the order of time, whatever the stamps say. So an event is stamped
//! later than the one above it, and nothing that was ordered becomes concurrent. Operations of the nemesis are
//! left out: they say what was tried, without the evidence that a receipt holds.

use std::collections::{BTreeSet, HashMap};

use super::edn::Edn;
use super::rows::{self, Kind, Row, malformed};
use super::{
    Completion, Event, Header, History, Op, OpKind, ProcessId, Reply, Time, Value, jepsen, porcupine,
};
use crate::json::{Malformed, Warning};

/// A way to write a history down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours: JSON lines, specified in `HISTORY.md`.
    JsonLines,
    /// Jepsen's `history.edn`: a map an event, one after the other or in a vector.
    JepsenEdn,
    /// Jepsen's log: an event a line, among others.
    JepsenLog,
    /// Porcupine's logs of a key-value store: a map of EDN an event, with the key in a field of its own.
    PorcupineKv,
}

impl Format {
    /// What a text is, by how its first event looks. A damaged text of ours counts as ours, so that the reader
    /// that knows most about it names the damage.
    pub fn of(text: &str) -> Format {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim_start();
        // A key of JSON is a string, a key of EDN a keyword.
        let is_json = first.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'));
        if is_json {
            Format::JsonLines
        } else if text.lines().any(rows::is_log_line) {
            Format::JepsenLog
        } else if first.starts_with(['{', '[', '(', '#', ';']) {
            let with_key = |line: &&str| line.contains(":process") && line.contains(":key ");
            if text.lines().take(10).any(|line| with_key(&line)) {
                Format::PorcupineKv
            } else {
                Format::JepsenEdn
            }
        } else {
            Format::JsonLines
        }
    }
}

impl History {
    /// Reads a history of any format that there is a [`Format`] for. `name` is the file's name, for errors and
    /// findings.
    pub fn parse_any(text: &str, name: &str) -> Result<(History, Vec<Warning>), Malformed> {
        History::parse_as(Format::of(text), text, name)
    }

    /// Reads a history of this format.
    pub fn parse_as(format: Format, text: &str, name: &str) -> Result<(History, Vec<Warning>), Malformed> {
        match format {
            Format::JsonLines => History::parse(text, name),
            Format::JepsenEdn => {
                let (rows, warnings) = rows::from_edn(text, name)?;
                jepsen::read(&rows, warnings, name)
            }
            Format::JepsenLog => {
                let (rows, warnings) = rows::from_log(text, name)?;
                jepsen::read(&rows, warnings, name)
            }
            Format::PorcupineKv => {
                let (rows, warnings) = rows::from_edn(text, name)?;
                porcupine::read(&rows, warnings, name)
            }
        }
    }
}

/// Events while they are read.
pub(super) struct Import<'a> {
    file: &'a str,
    events: Vec<Event>,
    /// The line of each event.
    lines: Vec<usize>,
    latest: Option<Time>,
    numbers: Numbers,
}

impl<'a> Import<'a> {
    pub(super) fn new(file: &'a str) -> Import<'a> {
        let numbers = Numbers { others: HashMap::new(), first: None };
        Import { file, events: Vec::new(), lines: Vec::new(), latest: None, numbers }
    }

    pub(super) fn invoke(&mut self, row: &Row, process: u32, op: Op) -> Result<(), Malformed> {
        let time = self.stamp(row)?;
        self.events.push(Event::Invoke { time, process: ProcessId(process), node: None, op });
        Ok(())
    }

    pub(super) fn complete(
        &mut self,
        row: &Row,
        process: u32,
        completion: Completion,
    ) -> Result<(), Malformed> {
        let time = self.stamp(row)?;
        self.events.push(Event::Complete { time, process: ProcessId(process), completion });
        Ok(())
    }

    fn stamp(&mut self, row: &Row) -> Result<Time, Malformed> {
        let after = match self.latest {
            None => 0,
            Some(latest) => latest.checked_add(1).ok_or_else(|| {
                malformed(self.file, row.line, ":time", "too large for nanoseconds in 64 bits")
            })?,
        };
        let time = row.time.map_or(after, |time| time.max(after));
        self.latest = Some(time);
        self.lines.push(row.line);
        Ok(time)
    }

    pub(super) fn error(&self, row: &Row, field: &str, problem: impl Into<String>) -> Malformed {
        malformed(self.file, row.line, field, problem)
    }

    /// A value as ours are: a number. Others get numbers of their own, one each.
    pub(super) fn number(&mut self, row: &Row, form: &Edn) -> Result<Value, Malformed> {
        match form {
            Edn::Nil => Err(self.error(row, ":value", "nil where a value is needed")),
            Edn::Sequence(_) | Edn::Map(_) => {
                Err(self.error(row, ":value", format!("`{form}` where a single value is needed")))
            }
            Edn::Integer(_) | Edn::Text(_) | Edn::Keyword(_) | Edn::Symbol(_) => {
                Ok(self.numbers.number(row.line, form))
            }
        }
    }

    pub(super) fn finish(self, mut warnings: Vec<Warning>) -> Result<(History, Vec<Warning>), Malformed> {
        if let Some((line, text)) = self.numbers.first {
            warnings.insert(0, Warning { file: self.file.to_owned(), line, text });
        }
        let workload = workload(&self.events);
        let mut events = self.events;
        if matches!(workload, "append-list" | "set") {
            events.iter_mut().for_each(read_nil_as_empty);
        }
        let header =
            Header { origin_ns: 0, system: "unknown".to_owned(), workload: workload.to_owned(), seed: 0 };
        Ok((History::imported(self.file, header, events, self.lines)?, warnings))
    }
}

/// Numbers for what is no number below 2⁶³: those from there on, in the order of appearance. A system does not
/// look into a value, so any one-to-one naming is as good for a checker.
struct Numbers {
    others: HashMap<String, Value>,
    /// The first of them, to tell the reader.
    first: Option<(usize, String)>,
}

const OTHERS_FROM: Value = 1 << 63;

impl Numbers {
    fn number(&mut self, line: usize, form: &Edn) -> Value {
        if let &Edn::Integer(number) = form
            && let Ok(number) = Value::try_from(number)
            && number < OTHERS_FROM
        {
            return number;
        }
        let number = OTHERS_FROM + self.others.len() as u64;
        let number = *self.others.entry(form.to_string()).or_insert(number);
        self.first.get_or_insert_with(|| {
            let text =
                format!("the value {form} is shown as {number}; others like it get the numbers after it");
            (line, text)
        });
        number
    }
}

/// The workload in our words that has such operations; it decides which kind of object a key is.
fn workload(events: &[Event]) -> &'static str {
    let kinds: BTreeSet<OpKind> = events
        .iter()
        .filter_map(|event| match event {
            Event::Invoke { op, .. } => Some(op.kind()),
            _ => None,
        })
        .collect();
    let has = |kind| kinds.contains(&kind);
    let reads_lists = events.iter().any(|event| {
        matches!(event, Event::Complete { completion: Completion::Ok(Reply::ReadList { .. }), .. })
    });
    if has(OpKind::Append) {
        "append-list"
    } else if has(OpKind::Add) {
        if reads_lists { "set" } else { "counter" }
    } else if has(OpKind::Enqueue) || has(OpKind::Dequeue) {
        "queue"
    } else if has(OpKind::Acquire) || has(OpKind::Release) {
        "lock"
    } else if has(OpKind::Delete) {
        "kv"
    } else {
        "register"
    }
}

/// A list or set that nobody has added to reads as nil in some systems.
fn read_nil_as_empty(event: &mut Event) {
    if let Event::Complete { completion: Completion::Ok(reply @ Reply::Read { value: None }), .. } = event {
        *reply = Reply::ReadList { values: Vec::new() };
    }
}

/// Operations that wait for their completion, by process.
pub(super) struct Open<T> {
    open: HashMap<u32, T>,
}

impl<T> Open<T> {
    pub(super) fn new() -> Open<T> {
        Open { open: HashMap::new() }
    }

    /// Whether two invocations follow each other is for the history to say.
    pub(super) fn begin(&mut self, process: u32, operation: T) {
        self.open.insert(process, operation);
    }

    pub(super) fn end(&mut self, import: &Import<'_>, row: &Row, process: u32) -> Result<T, Malformed> {
        debug_assert!(row.kind != Kind::Invoke, "an invocation ends nothing");
        self.open
            .remove(&process)
            .ok_or_else(|| import.error(row, ":process", format!("process {process} has no open operation")))
    }
}
