//! A well-formed history, and its operations: each invocation paired with its completion.

use std::collections::HashMap;

use super::{Completion, Event, Header, MicroOp, NodeId, Op, Phase, ProcessId, Reply, Time};
use crate::event_ref::EventRef;
use crate::json::Malformed;

/// A position among the events of a history, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventIndex(pub usize);

/// The ordered events of a run. Well-formed by type:
///
/// - times never decrease,
/// - a process has at most one open operation,
/// - a completion fits its operation (a read is answered by a read reply, …),
/// - a process is not used again after an `info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    name: String,
    header: Header,
    events: Vec<Event>,
    operations: Vec<Operation>,
    /// The line of each event, where it is not the one behind the header and the events before.
    lines: Option<Vec<usize>>,
}

/// An invocation paired with its completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its position among the operations, by invocation.
    pub index: usize,
    /// Who asked.
    pub process: ProcessId,
    /// Which node was asked.
    pub node: Option<NodeId>,
    /// What.
    pub op: Op,
    /// When the invocation was stamped, before the request was sent.
    pub invoked_at: Time,
    /// The event of the invocation.
    pub invoke_event: EventIndex,
    /// How it ended; `None` if it was still open when the history ended, which means as much as an `info`.
    pub completion: Option<Completion>,
    /// When the completion was stamped, after the reply was received.
    pub completed_at: Option<Time>,
    /// The event of the completion.
    pub complete_event: Option<EventIndex>,
}

impl Operation {
    /// What the client was told, if it was told that the operation happened.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.completion {
            Some(Completion::Ok(reply)) => Some(reply),
            Some(Completion::Fail { .. } | Completion::Info { .. }) | None => None,
        }
    }

    /// Whether it surely had no effect.
    pub fn failed(&self) -> bool {
        matches!(self.completion, Some(Completion::Fail { .. }))
    }
}

impl History {
    /// A history recorded in memory, named as its file in a run directory: `history.jsonl`.
    pub fn new(header: Header, events: Vec<Event>) -> Result<History, Malformed> {
        History::named("history.jsonl", header, events)
    }

    pub(super) fn named(name: &str, header: Header, events: Vec<Event>) -> Result<History, Malformed> {
        History::read(name, header, events, None)
    }

    /// A history of another format, whose events were read from these lines.
    pub(super) fn imported(
        name: &str,
        header: Header,
        events: Vec<Event>,
        lines: Vec<usize>,
    ) -> Result<History, Malformed> {
        debug_assert_eq!(events.len(), lines.len(), "each event has its line");
        History::read(name, header, events, Some(lines))
    }

    fn read(
        name: &str,
        header: Header,
        events: Vec<Event>,
        lines: Option<Vec<usize>>,
    ) -> Result<History, Malformed> {
        let operations = pair(&events).map_err(|Misfit { event, field, problem }| Malformed {
            file: name.to_owned(),
            line: line_of(event, lines.as_deref()),
            field: Some(field.to_owned()),
            problem,
        })?;
        Ok(History { name: name.to_owned(), header, events, operations, lines })
    }

    /// The file's name, relative to the run directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All events, in the order of recording.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// All operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// When a phase began, if it did.
    pub fn phase_start(&self, phase: Phase) -> Option<Time> {
        self.events.iter().find_map(|event| match event {
            &Event::Phase { time, phase: begun } if begun == phase => Some(time),
            _ => None,
        })
    }

    /// When the last event happened.
    pub fn last_time(&self) -> Time {
        self.events.last().map_or(0, Event::time)
    }

    /// Where a reader finds an event.
    pub fn locate(&self, event: EventIndex) -> EventRef {
        EventRef { file: self.name.clone(), line: line_of(event, self.lines.as_deref()) }
    }
}

impl Event {
    /// When it was stamped.
    pub fn time(&self) -> Time {
        match *self {
            Event::Invoke { time, .. }
            | Event::Complete { time, .. }
            | Event::Fault { time, .. }
            | Event::Death { time, .. }
            | Event::Phase { time, .. } => time,
        }
    }
}

/// In our own format the header is line 1.
fn line_of(EventIndex(index): EventIndex, lines: Option<&[usize]>) -> usize {
    lines.map_or(index + 2, |lines| lines[index])
}

/// An event that does not fit those before it.
struct Misfit {
    event: EventIndex,
    field: &'static str,
    problem: String,
}

/// What a process is doing while the history is read.
enum ProcessState {
    Idle,
    Open(usize),
    Retired,
}

fn pair(events: &[Event]) -> Result<Vec<Operation>, Misfit> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut processes: HashMap<ProcessId, ProcessState> = HashMap::new();
    let mut latest = 0;
    for (index, event) in events.iter().enumerate() {
        let event_index = EventIndex(index);
        let misfit = |field, problem| Misfit { event: event_index, field, problem };
        let time = event.time();
        if time < latest {
            return Err(misfit("time", format!("{time} is before {latest}, the time of the event above")));
        }
        latest = time;
        match event {
            &Event::Invoke { process, node, ref op, .. } => {
                let state = processes.entry(process).or_insert(ProcessState::Idle);
                match state {
                    ProcessState::Idle => *state = ProcessState::Open(operations.len()),
                    ProcessState::Open(_) => {
                        let problem = format!("process {} has an open operation already", process.0);
                        return Err(misfit("process", problem));
                    }
                    ProcessState::Retired => {
                        let problem =
                            format!("process {} was retired by an info and is used again", process.0);
                        return Err(misfit("process", problem));
                    }
                }
                if foresees(op) {
                    return Err(misfit("ops", "a read of a request must be null".to_owned()));
                }
                operations.push(Operation {
                    index: operations.len(),
                    process,
                    node,
                    op: op.clone(),
                    invoked_at: time,
                    invoke_event: event_index,
                    completion: None,
                    completed_at: None,
                    complete_event: None,
                });
            }
            Event::Complete { process, completion, .. } => {
                let Some(state @ &mut ProcessState::Open(open)) = processes.get_mut(process) else {
                    return Err(misfit("process", format!("process {} has no open operation", process.0)));
                };
                let operation = &mut operations[open];
                if !fits(&operation.op, completion) {
                    let problem = format!("a {} cannot be answered so", operation.op.kind());
                    return Err(misfit("reply", problem));
                }
                *state = match completion {
                    Completion::Info { .. } => ProcessState::Retired,
                    Completion::Ok(_) | Completion::Fail { .. } => ProcessState::Idle,
                };
                operation.completion = Some(completion.clone());
                operation.completed_at = Some(time);
                operation.complete_event = Some(event_index);
            }
            Event::Fault { .. } | Event::Death { .. } | Event::Phase { .. } => {}
        }
    }
    Ok(operations)
}

fn fits(op: &Op, completion: &Completion) -> bool {
    let Completion::Ok(reply) = completion else { return true };
    match (op, reply) {
        (Op::Read { .. }, Reply::Read { .. } | Reply::ReadList { .. })
        | (Op::Write { .. }, Reply::Write)
        | (Op::Cas { .. }, Reply::Swapped | Reply::NotSwapped { .. } | Reply::Mismatch)
        | (Op::Delete { .. }, Reply::Delete)
        | (Op::Append { .. }, Reply::Append)
        | (Op::Add { .. }, Reply::Add)
        | (Op::Enqueue { .. }, Reply::Enqueue)
        | (Op::Dequeue { .. }, Reply::Dequeue { .. })
        | (Op::Acquire { .. }, Reply::Acquire)
        | (Op::Release { .. }, Reply::Release) => true,
        (Op::Txn { ops: asked }, Reply::Txn { ops: answered }) => {
            asked.len() == answered.len() && asked.iter().zip(answered).all(|(a, b)| answers(a, b))
        }
        (
            Op::Read { .. }
            | Op::Write { .. }
            | Op::Cas { .. }
            | Op::Delete { .. }
            | Op::Append { .. }
            | Op::Add { .. }
            | Op::Enqueue { .. }
            | Op::Dequeue { .. }
            | Op::Acquire { .. }
            | Op::Release { .. }
            | Op::Txn { .. },
            _,
        ) => false,
    }
}

/// A step of a transaction is answered by itself, a read with what it saw.
fn answers(asked: &MicroOp, answered: &MicroOp) -> bool {
    match (asked, answered) {
        (MicroOp::Append { .. }, MicroOp::Append { .. }) => asked == answered,
        (MicroOp::Read { key, .. }, MicroOp::Read { key: same, values: Some(_) }) => key == same,
        (MicroOp::Append { .. } | MicroOp::Read { .. }, _) => false,
    }
}

/// A request cannot know what its reads will see.
fn foresees(op: &Op) -> bool {
    match op {
        Op::Txn { ops } => ops.iter().any(|op| matches!(op, MicroOp::Read { values: Some(_), .. })),
        _ => false,
    }
}
