//! The logical clients of a simulation. They follow the rules of real ones: one operation at a time, no retries, `info`
//! for every unknown end, and a process is retired after it.

use std::sync::Arc;

use checkers::history::{Completion, Event, NodeId, Op, ProcessId, Reply, Time, Value, write_line};
use cluster_under_test::kv::{self, Compare, KeyRange, OpResult, Outcome, Pair, Relation, Target, Txn};
use cluster_under_test::raft::RequestId;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::node::{Answer, TICK_NS};
use crate::workload::{Generator, Seat};

/// An operation without an answer is given up after this time, in ticks: two election timeouts.
const TIMEOUT_TICKS: u64 = 40;
/// The longest pause between two operations of a process.
const PAUSE_TICKS_MAX: u64 = 8;

/// Writes down events with times that never decrease.
#[derive(Default)]
pub(super) struct Scribe {
    pub(super) text: String,
    last: Time,
    processes: u32,
}

impl Scribe {
    /// Records the event at this tick. Events of one tick are a nanosecond apart, in their order.
    pub(super) fn record(&mut self, tick: u64, event: impl FnOnce(Time) -> Event) {
        self.last = (tick * TICK_NS).max(self.last + 1);
        self.text.push_str(&write_line(&event(self.last)));
        self.text.push('\n');
    }

    fn new_process(&mut self) -> ProcessId {
        self.processes += 1;
        ProcessId(self.processes - 1)
    }
}

/// What a client asks for.
pub(super) enum Source {
    /// Operations of the workload, for as long as it is asked.
    Generator(Arc<dyn Generator>, Seat),
    /// These operations, each until it succeeds; the last one first.
    List(Vec<Op>),
}

/// One client, bound to one node.
pub(super) struct Client {
    pub(super) node: u64,
    process: ProcessId,
    source: Source,
    open: Option<Open>,
    due: u64,
    rng: Pcg64Mcg,
    /// Operations that succeeded, and writes among them.
    pub(super) ok: u32,
    pub(super) written: bool,
}

struct Open {
    op: Op,
    request: RequestId,
    deadline: u64,
}

impl Client {
    pub(super) fn new(node: u64, source: Source, scribe: &mut Scribe, seed: u64) -> Self {
        let process = scribe.new_process();
        let rng = Pcg64Mcg::seed_from_u64(seed);
        Self { node, process, source, open: None, due: 0, rng, ok: 0, written: false }
    }

    /// Whether it has asked all that it will ask.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_none() && matches!(&self.source, Source::List(list) if list.is_empty())
    }

    /// The operation that the client sends at this tick, if it does. [`Client::sent`] or [`Client::refused`] must follow.
    pub(super) fn next(&mut self, tick: u64, scribe: &mut Scribe) -> Option<(Op, Txn)> {
        if self.open.is_some() || tick < self.due {
            return None;
        }
        let op = match &self.source {
            Source::Generator(generator, seat) => generator.next(*seat, &mut self.rng),
            Source::List(list) => list.last()?.clone(),
        };
        let (process, node) = (self.process, history_node(self.node));
        scribe.record(tick, |time| Event::Invoke { time, process, node: Some(node), op: op.clone() });
        let Some(txn) = transaction(&op) else {
            let completion = Completion::Fail { reason: format!("raft-kv has no {}", op.kind()) };
            self.complete(&op, &completion, tick, scribe);
            return None;
        };
        Some((op, txn))
    }

    /// The node has taken the request.
    pub(super) fn sent(&mut self, op: Op, request: RequestId, tick: u64) {
        self.open = Some(Open { op, request, deadline: tick + TIMEOUT_TICKS });
    }

    /// The node is down: nothing was sent.
    pub(super) fn refused(&mut self, op: &Op, tick: u64, scribe: &mut Scribe) {
        let completion = Completion::Fail { reason: "connection refused".into() };
        self.complete(op, &completion, tick, scribe);
    }

    /// An answer has come; perhaps to a request that was given up.
    pub(super) fn answer(&mut self, request: RequestId, answer: &Answer, tick: u64, scribe: &mut Scribe) {
        if let Some(open) = self.open.take_if(|open| open.request == request) {
            let completion = match answer {
                Answer::Done(outcome) => Completion::Ok(reply(&open.op, outcome)),
                Answer::Early => match &open.op {
                    Op::Write { .. } => Completion::Ok(Reply::Write),
                    Op::Cas { .. } => Completion::Ok(Reply::Swapped),
                    Op::Delete { .. } => Completion::Ok(Reply::Delete),
                    other => {
                        unreachable!("a {} is not replicated, so it cannot be answered early", other.kind())
                    }
                },
                Answer::Rejected(reason) => Completion::Fail { reason: format!("{reason:?}") },
            };
            self.complete(&open.op, &completion, tick, scribe);
        }
    }

    /// Gives up what has waited too long, or whose node has crashed.
    pub(super) fn give_up(&mut self, tick: u64, node_crashed: bool, scribe: &mut Scribe) {
        if let Some(open) = self.open.take_if(|open| node_crashed || open.deadline <= tick) {
            let reason = if node_crashed { "connection reset" } else { "timeout" }.to_owned();
            let completion = match open.op {
                Op::Read { .. } => Completion::Fail { reason },
                _ => Completion::Info { reason },
            };
            self.complete(&open.op, &completion, tick, scribe);
        }
    }

    fn complete(&mut self, op: &Op, completion: &Completion, tick: u64, scribe: &mut Scribe) {
        let process = self.process;
        scribe.record(tick, |time| Event::Complete { time, process, completion: completion.clone() });
        match completion {
            Completion::Ok(_) => {
                self.ok += 1;
                self.written |= matches!(op, Op::Write { .. });
                if let Source::List(list) = &mut self.source {
                    list.pop();
                }
            }
            Completion::Info { .. } => self.process = scribe.new_process(),
            Completion::Fail { .. } => (),
        }
        if let Source::Generator(generator, seat) = &self.source {
            generator.completed(*seat, op, completion);
        }
        self.due = tick + self.rng.random_range(1..=PAUSE_TICKS_MAX);
    }
}

/// A node as histories name it.
pub(super) fn history_node(node: u64) -> NodeId {
    NodeId(u16::try_from(node).expect("a simulated cluster is small"))
}

/// What raft-kv is asked; `None` if it has nothing like it.
fn transaction(op: &Op) -> Option<Txn> {
    let put = |key: &str, value: Value| kv::Op::Put {
        key: key.into(),
        value: value.to_string().into_bytes(),
        prev_kv: false,
    };
    let range =
        |key: &str| kv::Op::Range { keys: KeyRange::one(key), limit: 0, keys_only: false, count_only: false };
    Some(match op {
        Op::Read { key } => Txn::only(range(key)),
        Op::Write { key, value } => Txn::only(put(key, *value)),
        Op::Cas { key, from, to } => Txn {
            compares: vec![Compare {
                keys: KeyRange::one(key.as_str()),
                target: Target::Value(from.to_string().into_bytes()),
                relation: Relation::Equal,
            }],
            success: vec![put(key, *to)],
            failure: vec![range(key)],
        },
        Op::Delete { key } => {
            Txn::only(kv::Op::DeleteRange { keys: KeyRange::one(key.as_str()), prev_kv: false })
        }
        Op::Append { .. }
        | Op::Add { .. }
        | Op::Enqueue { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. }
        | Op::Txn { .. } => return None,
    })
}

fn reply(op: &Op, outcome: &Outcome) -> Reply {
    let value = || match outcome.results.first() {
        Some(OpResult::Range { kvs, .. }) => kvs.first().map(value_of),
        other => unreachable!("a read is answered by a range, not {other:?}"),
    };
    match op {
        Op::Read { .. } => Reply::Read { value: value() },
        Op::Write { .. } => Reply::Write,
        Op::Cas { .. } if outcome.succeeded => Reply::Swapped,
        Op::Cas { .. } => Reply::NotSwapped { seen: value() },
        Op::Delete { .. } => Reply::Delete,
        other => unreachable!("raft-kv was not asked for a {}", other.kind()),
    }
}

fn value_of((_, entry): &Pair) -> Value {
    let text = std::str::from_utf8(&entry.value).expect("the simulation writes decimal numbers");
    text.parse().expect("the simulation writes decimal numbers")
}
