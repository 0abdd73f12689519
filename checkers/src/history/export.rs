//! Writes a history as Jepsen's EDN, a map an event, for Knossos, Elle and whatever else reads it.
//!
//! Jepsen orders events by their position, ours by their stamps, where equal stamps mean concurrent operations.
//! So at one stamp invocations are written before completions, and the verdict stays the same. With one object
//! the values stand alone; with several each is a pair of key and value, as in `jepsen.independent`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::edn::Edn;
use super::{Completion, Event, FaultPhase, History, MicroOp, Op, ProcessId, Reply, Time, Value, jepsen};

impl History {
    /// The history as Jepsen writes it. Read back it gives the same verdict.
    pub fn to_jepsen_edn(&self) -> String {
        let keys: BTreeSet<&str> =
            self.operations().iter().filter_map(|operation| operation.op.key()).collect();
        let keyed = keys.len() > 1;
        let mut text = String::new();
        for (index, row) in ordered(self.events()).into_iter().enumerate() {
            let (kind, function, value) = match &row.what {
                What::Invoke(op) => (":invoke", op.kind().name(), request(op, keyed)),
                What::Complete(op, completion) => {
                    let (kind, value) = answer(op, completion, keyed);
                    (kind, op.kind().name(), value)
                }
                What::Fault { function, nodes } => (":info", function.as_str(), nodes.clone()),
            };
            let process = row.process.map_or(":nemesis".to_owned(), |process| process.to_string());
            write!(
                text,
                "{{:index {index}, :time {}, :type {kind}, :process {process}, :f :{function}, :value {value}",
                row.time
            )
            .expect("writing to a string cannot fail");
            if let What::Complete(_, completion) = &row.what
                && let Some(error) = error(completion)
            {
                write!(text, ", :error {error}").expect("writing to a string cannot fail");
            }
            text.push_str("}\n");
        }
        text
    }
}

struct Row<'a> {
    time: Time,
    process: Option<u32>,
    what: What<'a>,
}

enum What<'a> {
    Invoke(&'a Op),
    Complete(&'a Op, &'a Completion),
    Fault { function: String, nodes: Edn },
}

/// The events in an order that says the same as their stamps.
fn ordered(events: &[Event]) -> Vec<Row<'_>> {
    let mut renamed = Renamed::new(events);
    let mut asked: HashMap<ProcessId, &Op> = HashMap::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for event in events {
        match event {
            Event::Invoke { time, process, op, .. } => {
                asked.insert(*process, op);
                rows.push(Row {
                    time: *time,
                    process: Some(renamed.invoke(*process, *time)),
                    what: What::Invoke(op),
                });
            }
            Event::Complete { time, process, completion } => {
                let op = asked[process];
                rows.push(Row {
                    time: *time,
                    process: Some(renamed.complete(*process, *time)),
                    what: What::Complete(op, completion),
                });
            }
            Event::Fault { time, fault, phase, nodes, .. } => {
                let verb = match phase {
                    FaultPhase::Inject => "start",
                    FaultPhase::Heal => "stop",
                };
                let nodes = nodes.iter().map(|node| Edn::Text(node.to_string())).collect();
                rows.push(Row {
                    time: *time,
                    process: None,
                    what: What::Fault { function: format!("{verb}-{fault}"), nodes: Edn::Sequence(nodes) },
                });
            }
            // Jepsen has no events for these.
            Event::Death { .. } | Event::Phase { .. } => {}
        }
    }
    rows.sort_by_key(|row| (row.time, matches!(row.what, What::Complete(..))));
    rows
}

/// Process numbers as they are written. An operation that is invoked at the very stamp at which the process
/// completed the one before counts as concurrent with it, and Jepsen has no such process; so from there on it
/// goes by another number.
struct Renamed {
    current: HashMap<ProcessId, u32>,
    completed_at: HashMap<ProcessId, Time>,
    used: HashSet<u32>,
    next: u32,
}

impl Renamed {
    fn new(events: &[Event]) -> Renamed {
        let used = events
            .iter()
            .filter_map(|event| match event {
                Event::Invoke { process, .. } => Some(process.0),
                _ => None,
            })
            .collect();
        Renamed { current: HashMap::new(), completed_at: HashMap::new(), used, next: 0 }
    }

    fn invoke(&mut self, process: ProcessId, time: Time) -> u32 {
        if self.completed_at.get(&process) == Some(&time) {
            while !self.used.insert(self.next) {
                self.next += 1;
            }
            self.current.insert(process, self.next);
        }
        *self.current.entry(process).or_insert(process.0)
    }

    fn complete(&mut self, process: ProcessId, time: Time) -> u32 {
        self.completed_at.insert(process, time);
        self.current[&process]
    }
}

fn number(value: Value) -> Edn {
    Edn::Integer(i128::from(value))
}

fn held(value: Option<Value>) -> Edn {
    value.map_or(Edn::Nil, number)
}

fn list(values: &[Value]) -> Edn {
    Edn::Sequence(values.iter().copied().map(number).collect())
}

/// A key as a number where it looks like one: so it was written by most of those that can be read.
fn key_form(key: &str) -> Edn {
    match key.parse::<u32>() {
        Ok(parsed) if parsed.to_string() == key => Edn::Integer(i128::from(parsed)),
        _ => Edn::Text(key.to_owned()),
    }
}

fn with_key(op: &Op, value: Edn, keyed: bool) -> Edn {
    match op.key() {
        Some(key) if keyed => Edn::Sequence(vec![key_form(key), value]),
        _ => value,
    }
}

fn request(op: &Op, keyed: bool) -> Edn {
    let value = match op {
        Op::Write { value, .. }
        | Op::Append { value, .. }
        | Op::Add { value, .. }
        | Op::Enqueue { value, .. } => number(*value),
        Op::Cas { from, to, .. } => Edn::Sequence(vec![number(*from), number(*to)]),
        Op::Txn { ops } => micro_ops(ops),
        Op::Read { .. }
        | Op::Delete { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. } => Edn::Nil,
    };
    with_key(op, value, keyed)
}

fn micro_ops(ops: &[MicroOp]) -> Edn {
    let micro_op = |op: &MicroOp| {
        Edn::Sequence(match op {
            MicroOp::Append { key, value } => {
                vec![Edn::Keyword("append".to_owned()), key_form(key), number(*value)]
            }
            MicroOp::Read { key, values } => {
                let values = values.as_ref().map_or(Edn::Nil, |values| list(values));
                vec![Edn::Keyword("r".to_owned()), key_form(key), values]
            }
        })
    };
    Edn::Sequence(ops.iter().map(micro_op).collect())
}

/// The type and the value of a completion. One that tells nothing repeats the request, as in Jepsen.
fn answer(op: &Op, completion: &Completion, keyed: bool) -> (&'static str, Edn) {
    match completion {
        Completion::Fail { .. } => (":fail", request(op, keyed)),
        Completion::Info { .. } => (":info", request(op, keyed)),
        Completion::Ok(reply) => match reply {
            Reply::Read { value } | Reply::Dequeue { value } => (":ok", with_key(op, held(*value), keyed)),
            Reply::ReadList { values } => (":ok", with_key(op, list(values), keyed)),
            Reply::Txn { ops } => (":ok", micro_ops(ops)),
            // It had no effect, which Jepsen calls a fail; Knossos then leaves it out.
            Reply::NotSwapped { .. } | Reply::Mismatch => (":fail", request(op, keyed)),
            Reply::Write
            | Reply::Swapped
            | Reply::Delete
            | Reply::Append
            | Reply::Add
            | Reply::Enqueue
            | Reply::Acquire
            | Reply::Release => (":ok", request(op, keyed)),
        },
    }
}

fn error(completion: &Completion) -> Option<Edn> {
    match completion {
        Completion::Fail { reason } | Completion::Info { reason } => Some(Edn::Text(reason.clone())),
        Completion::Ok(Reply::NotSwapped { seen }) => {
            Some(Edn::Sequence(vec![Edn::Keyword(jepsen::NOT_SWAPPED.to_owned()), held(*seen)]))
        }
        Completion::Ok(_) => None,
    }
}
