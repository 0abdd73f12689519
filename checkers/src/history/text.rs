//! The history as text: JSON lines, a header first, then one flat object an event. `HISTORY.md` is the
//! specification.

use serde::{Deserialize, Serialize};

use super::{
    Completion, Event, FORMAT, FaultPhase, History, NodeId, Op, Phase, ProcessId, Receipt, Reply, Time,
};
use crate::json::{self, Line, Malformed, Warning};

/// The first line of a history: what was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `CLOCK_MONOTONIC` in nanoseconds at time 0 of the history; traces are stamped by that clock.
    pub origin_ns: u64,
    /// The system under test.
    pub system: String,
    /// The workload that drove it.
    pub workload: String,
    /// The seed of the plan.
    pub seed: u64,
}

impl Header {
    /// The header as a line, without its newline.
    pub fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct HeaderLine<'a> {
            format: u32,
            kind: &'static str,
            #[serde(flatten)]
            header: &'a Header,
        }
        to_json(&HeaderLine { format: FORMAT, kind: "history", header: self })
    }

    fn from_line(line: &Line<'_>) -> Result<Header, Malformed> {
        let kind: String = line.field("kind")?;
        if kind != "history" {
            return Err(line.malformed("kind", format!("expected `history`, found `{kind}`")));
        }
        line.expect_format(FORMAT)?;
        Ok(Header {
            origin_ns: line.field("origin_ns")?,
            system: line.field("system")?,
            workload: line.field("workload")?,
            seed: line.field("seed")?,
        })
    }
}

/// One event as a line, without its newline.
pub fn write_line(event: &Event) -> String {
    to_json(&EventLine::from(event))
}

fn to_json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line has string keys and nothing that can fail to serialise")
}

/// An event in the order of fields that reads best: when, what, who, then the rest.
#[derive(Serialize)]
#[serde(untagged)]
enum EventLine<'a> {
    Invoke {
        time: Time,
        r#type: &'static str,
        process: ProcessId,
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<NodeId>,
        #[serde(flatten)]
        op: &'a Op,
    },
    Ok {
        time: Time,
        r#type: &'static str,
        process: ProcessId,
        #[serde(flatten)]
        reply: &'a Reply,
    },
    NotOk {
        time: Time,
        r#type: &'static str,
        process: ProcessId,
        reason: &'a str,
    },
    Fault {
        time: Time,
        r#type: &'static str,
        fault: &'a str,
        phase: FaultPhase,
        nodes: &'a [NodeId],
        receipt: &'a Receipt,
    },
    Death {
        time: Time,
        r#type: &'static str,
        node: NodeId,
        status: &'a str,
        crash: bool,
        log: &'a [String],
    },
    Phase {
        time: Time,
        r#type: &'static str,
        phase: Phase,
    },
}

impl<'a> From<&'a Event> for EventLine<'a> {
    fn from(event: &'a Event) -> Self {
        match *event {
            Event::Invoke { time, process, node, ref op } => {
                EventLine::Invoke { time, r#type: "invoke", process, node, op }
            }
            Event::Complete { time, process, ref completion } => match completion {
                Completion::Ok(reply) => EventLine::Ok { time, r#type: "ok", process, reply },
                Completion::Fail { reason } => EventLine::NotOk { time, r#type: "fail", process, reason },
                Completion::Info { reason } => EventLine::NotOk { time, r#type: "info", process, reason },
            },
            Event::Fault { time, ref fault, phase, ref nodes, ref receipt } => {
                EventLine::Fault { time, r#type: "fault", fault, phase, nodes, receipt }
            }
            Event::Death { time, node, ref status, crash, ref log } => {
                EventLine::Death { time, r#type: "death", node, status, crash, log }
            }
            Event::Phase { time, phase } => EventLine::Phase { time, r#type: "phase", phase },
        }
    }
}

impl History {
    /// Reads a history. `name` is the file's name relative to the run directory, for errors and findings.
    pub fn parse(text: &str, name: &str) -> Result<(History, Vec<Warning>), Malformed> {
        let (lines, warnings) = json::lines(text, name)?;
        let Some((header, events)) = lines.split_first() else {
            return Err(Malformed {
                file: name.to_owned(),
                line: 1,
                field: None,
                problem: "the file ends before its header".to_owned(),
            });
        };
        let header = Header::from_line(header)?;
        let events = events.iter().map(read_event).collect::<Result<_, _>>()?;
        Ok((History::named(name, header, events)?, warnings))
    }
}

fn read_event(line: &Line<'_>) -> Result<Event, Malformed> {
    let kind: String = line.field("type")?;
    let time = line.field("time")?;
    let complete = |completion| -> Result<Event, Malformed> {
        Ok(Event::Complete { time, process: line.field("process")?, completion })
    };
    match kind.as_str() {
        "invoke" => Ok(Event::Invoke {
            time,
            process: line.field("process")?,
            node: line.optional("node")?,
            op: read_op(line)?,
        }),
        "ok" => complete(Completion::Ok(read_reply(line)?)),
        "fail" => complete(Completion::Fail { reason: line.field("reason")? }),
        "info" => complete(Completion::Info { reason: line.field("reason")? }),
        "fault" => Ok(Event::Fault {
            time,
            fault: line.field("fault")?,
            phase: line.field("phase")?,
            nodes: line.field("nodes")?,
            receipt: line.field("receipt")?,
        }),
        "death" => Ok(Event::Death {
            time,
            node: line.field("node")?,
            status: line.field("status")?,
            crash: line.field("crash")?,
            log: line.field("log")?,
        }),
        "phase" => Ok(Event::Phase { time, phase: line.field("phase")? }),
        unknown => Err(line.malformed(
            "type",
            format!("`{unknown}` is not a type; there are invoke, ok, fail, info, fault, death and phase"),
        )),
    }
}

fn read_op(line: &Line<'_>) -> Result<Op, Malformed> {
    let function: String = line.field("f")?;
    let key = || line.field("key");
    let value = || line.field("value");
    match function.as_str() {
        "read" => Ok(Op::Read { key: key()? }),
        "write" => Ok(Op::Write { key: key()?, value: value()? }),
        "cas" => Ok(Op::Cas { key: key()?, from: line.field("from")?, to: line.field("to")? }),
        "delete" => Ok(Op::Delete { key: key()? }),
        "append" => Ok(Op::Append { key: key()?, value: value()? }),
        "add" => Ok(Op::Add { key: key()?, value: value()? }),
        "enqueue" => Ok(Op::Enqueue { key: key()?, value: value()? }),
        "dequeue" => Ok(Op::Dequeue { key: key()? }),
        "acquire" => Ok(Op::Acquire { key: key()? }),
        "release" => Ok(Op::Release { key: key()? }),
        "txn" => Ok(Op::Txn { ops: line.field("ops")? }),
        unknown => Err(line.malformed(
            "f",
            format!(
                "`{unknown}` is not an operation; there are read, write, cas, delete, append, add, enqueue, \
                 dequeue, acquire, release and txn"
            ),
        )),
    }
}

fn read_reply(line: &Line<'_>) -> Result<Reply, Malformed> {
    let reply: String = line.field("reply")?;
    match reply.as_str() {
        "read" => Ok(Reply::Read { value: line.field("value")? }),
        "read-list" => Ok(Reply::ReadList { values: line.field("values")? }),
        "write" => Ok(Reply::Write),
        "swapped" => Ok(Reply::Swapped),
        "not-swapped" => Ok(Reply::NotSwapped { seen: line.field("seen")? }),
        "mismatch" => Ok(Reply::Mismatch),
        "delete" => Ok(Reply::Delete),
        "append" => Ok(Reply::Append),
        "add" => Ok(Reply::Add),
        "enqueue" => Ok(Reply::Enqueue),
        "dequeue" => Ok(Reply::Dequeue { value: line.field("value")? }),
        "acquire" => Ok(Reply::Acquire),
        "release" => Ok(Reply::Release),
        "txn" => Ok(Reply::Txn { ops: line.field("ops")? }),
        unknown => Err(line.malformed(
            "reply",
            format!(
                "`{unknown}` is not a reply; there are read, read-list, write, swapped, not-swapped, mismatch, delete, \
                 append, add, enqueue, dequeue, acquire, release and txn"
            ),
        )),
    }
}
