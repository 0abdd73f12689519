//! Random histories of one register, drawn as a script that proptest can shrink.
//!
//! The script drives a real register through clients that overlap, so most histories begin linearizable; some
//! replies are then falsified. All kinds of completion occur, and operations that never complete.

use std::collections::BTreeMap;

use checkers::History;
use checkers::history::{Completion, Event, Header, Op, ProcessId, Reply};
use checkers::model::{Register, SequentialSpec};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How histories are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// At most so many operations.
    pub(crate) operations: usize,
    /// Clients at a time.
    pub(crate) clients: u8,
    /// Values are drawn below this; small domains repeat values.
    pub(crate) values: u64,
    /// Whether events may share a stamp.
    pub(crate) ties: bool,
}

/// Runs a property over so many histories, the same ones each time.
pub(crate) fn for_all(cases: u32, shape: Shape, property: impl Fn(&History)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let script = prop::collection::vec(any::<Step>(), 1..5 * shape.operations);
    let outcome = runner.run(&script, |script| {
        property(&perform(&script, shape));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// What happens next: which client, and three dice.
type Step = (u8, u8, u8, u8);

struct Client {
    process: ProcessId,
    open: Option<(Op, Option<Reply>)>,
}

fn perform(script: &[Step], shape: Shape) -> History {
    let mut register = Register::default();
    let mut clients: BTreeMap<u8, Client> = BTreeMap::new();
    let mut next_process = 0;
    let mut events = Vec::new();
    let mut invoked = 0;
    let mut time = 0;
    for &(who, first, second, third) in script {
        time += u64::from(!shape.ties || third % 3 > 0);
        let client = clients.entry(who % shape.clients).or_insert_with(|| {
            next_process += 1;
            Client { process: ProcessId(next_process), open: None }
        });
        let process = client.process;
        let Some((op, applied)) = &mut client.open else {
            if invoked < shape.operations {
                invoked += 1;
                let op = draw_op(first, second, third, shape.values);
                events.push(Event::Invoke { time, process, node: None, op: op.clone() });
                client.open = Some((op, None));
            }
            continue;
        };
        if applied.is_none() && first % 8 < 5 {
            *applied = Some(register.invoke(op));
            continue;
        }
        let completion = match applied.take() {
            _ if first % 8 == 7 => Completion::Info { reason: "timeout".into() },
            Some(reply) => Completion::Ok(if second % 10 == 0 {
                falsify(&reply, u64::from(third) % shape.values)
            } else {
                reply
            }),
            None if first % 8 == 6 => Completion::Ok(register.invoke(op)),
            None => Completion::Fail { reason: "no leader".into() },
        };
        client.open = None;
        if matches!(completion, Completion::Info { .. }) {
            clients.remove(&(who % shape.clients));
        }
        events.push(Event::Complete { time, process, completion });
    }
    let header = Header { origin_ns: 0, system: "random".into(), workload: "register".into(), seed: 0 };
    History::new(header, events).expect("clients complete what they invoke")
}

fn draw_op(first: u8, second: u8, third: u8, values: u64) -> Op {
    let key = "x".to_owned();
    match first % 5 {
        0 | 1 => Op::Read { key },
        2 | 3 => Op::Write { key, value: u64::from(second) % values },
        _ => Op::Cas { key, from: u64::from(second) % values, to: u64::from(third) % values },
    }
}

fn falsify(reply: &Reply, value: u64) -> Reply {
    match *reply {
        Reply::Read { .. } => Reply::Read { value: Some(value) },
        Reply::Write => Reply::Write,
        Reply::Swapped => Reply::NotSwapped { seen: Some(value) },
        Reply::NotSwapped { .. } => Reply::Swapped,
        ref other => other.clone(),
    }
}
