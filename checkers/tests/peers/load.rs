//! Histories of one register under clients in a closed loop: each invokes, waits, and invokes again.
//!
//! Operations take effect at a random moment of their interval. Some never return; half of those take effect all
//! the same, much later. A stale read can be planted near the end, of a value that nothing can have brought back.
//! What happened is told event by event and forgotten, so a history may be longer than memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use checkers::history::{Completion, Event, Op, ProcessId, Reply, Time};
use checkers::linearizable::Call;
use checkers::model::{Register, SequentialSpec};

use super::dice::Dice;

/// What a history is like.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub operations: usize,
    pub clients: usize,
    /// Thirds of reads, writes and compare-and-sets; otherwise halves of reads and writes.
    pub cas: bool,
    /// Values are drawn from so many; `None`: each is written once.
    pub values: Option<u64>,
    /// Whether a compare-and-set that is refused tells the value that it saw.
    pub tells_seen: bool,
    pub never_return_percent: u64,
    /// Whether a read at 95 % of the history returns a value that was surely overwritten before it began.
    pub violation: bool,
    pub seed: u64,
}

impl Load {
    /// Unique values, all that is asked is answered, and nothing is wrong.
    pub fn new(operations: usize, clients: usize, seed: u64) -> Load {
        Load {
            operations,
            clients,
            cas: false,
            values: None,
            tells_seen: true,
            never_return_percent: 0,
            violation: false,
            seed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Invoke { client: usize },
    Effect { call: usize },
    Return { call: usize },
}

/// Performs the load on a register. The calls are numbered as they were invoked.
pub fn perform(load: Load) -> Vec<Call<Register>> {
    let mut calls: Vec<Call<Register>> = Vec::with_capacity(load.operations);
    perform_for(load, |call, event| match event {
        Event::Invoke { time, op, .. } => {
            calls.push(Call { id: call, op, ret: None, invoked: time, returned: None });
        }
        Event::Complete { time, completion: Completion::Ok(reply), .. } => {
            calls[call].ret = Some(reply);
            calls[call].returned = Some(time);
        }
        _ => {}
    });
    calls
}

/// Performs the load and tells each event, and to which call it belongs, when it happens. Says whether a violation
/// was planted.
pub fn perform_for(load: Load, tell: impl FnMut(usize, Event)) -> bool {
    let clients = u32::try_from(load.clients).expect("clients are counted in 32 bits");
    let client = |process| Client { process, waits_for: None, saw: None };
    let mut run = Run {
        load,
        tell,
        dice: Dice::new(load.seed),
        upcoming: BinaryHeap::new(),
        scheduled: 0,
        register: Register::default(),
        plant: load.violation.then(|| Plant { value: load.values, ..Plant::default() }),
        clients: (0..clients).map(client).collect(),
        processes: clients,
        invoked: 0,
        in_flight: HashMap::new(),
        written: 0,
    };
    for client in 0..load.clients {
        let time = run.dice.below(1_000);
        run.schedule(time, Moment::Invoke { client });
    }
    // Each moment gets a stamp of its own.
    let mut stamp = 0;
    while let Some(Reverse((time, _, moment))) = run.upcoming.pop() {
        stamp += 1;
        match moment {
            Moment::Invoke { client } => {
                run.give_up(client, stamp);
                if run.invoked < load.operations {
                    run.invoke(client, time, stamp);
                }
            }
            Moment::Effect { call } => run.take_effect(call, time),
            Moment::Return { call } => run.give_back(call, time, stamp),
        }
    }
    run.plant.is_some_and(|plant| plant.is_done)
}

struct Client {
    process: u32,
    /// A call that will not return.
    waits_for: Option<usize>,
    /// The value that it last read or wrote.
    saw: Option<u64>,
}

/// A call that is yet to take effect or to return.
struct InFlight {
    client: usize,
    op: Op,
    invoked: Time,
    returns: bool,
    takes_effect: bool,
    reply: Option<Reply>,
}

struct Run<F> {
    load: Load,
    tell: F,
    dice: Dice,
    upcoming: BinaryHeap<Reverse<(u64, u64, Moment)>>,
    scheduled: u64,
    register: Register,
    plant: Option<Plant>,
    clients: Vec<Client>,
    /// Used so far: a client whose operation did not return goes on as another process.
    processes: u32,
    invoked: usize,
    in_flight: HashMap<usize, InFlight>,
    written: u64,
}

impl<F: FnMut(usize, Event)> Run<F> {
    fn schedule(&mut self, time: u64, moment: Moment) {
        self.scheduled += 1;
        self.upcoming.push(Reverse((time, self.scheduled, moment)));
    }

    fn fresh_value(&mut self) -> u64 {
        self.written += 1;
        match self.load.values {
            Some(values) => 1 + self.dice.below(values),
            None => self.written,
        }
    }

    fn draw(&mut self, client: usize) -> Op {
        let key = String::new();
        let expected = match self.load.values {
            Some(values) => Some(1 + self.dice.below(values)),
            None => self.clients[client].saw,
        };
        match (self.dice.below(if self.load.cas { 3 } else { 2 }), expected) {
            (0, _) => Op::Read { key },
            (2, Some(from)) => Op::Cas { key, from, to: self.fresh_value() },
            _ => Op::Write { key, value: self.fresh_value() },
        }
    }

    fn give_up(&mut self, client: usize, stamp: Time) {
        let Some(call) = self.clients[client].waits_for.take() else { return };
        let process = ProcessId(self.clients[client].process);
        let completion = Completion::Info { reason: String::new() };
        (self.tell)(call, Event::Complete { time: stamp, process, completion });
        self.clients[client].process = self.processes;
        self.processes += 1;
    }

    fn invoke(&mut self, client: usize, time: u64, stamp: Time) {
        let mut op = self.draw(client);
        let mut returns = !self.dice.percent(self.load.never_return_percent);
        let call = self.invoked;
        self.invoked += 1;
        if let Some(plant) = &mut self.plant {
            let is_near_the_end = call * 100 >= 90 * self.load.operations;
            plant.invoke(&mut op, &mut returns, is_near_the_end);
        }
        let process = ProcessId(self.clients[client].process);
        (self.tell)(call, Event::Invoke { time: stamp, process, node: None, op: op.clone() });
        let takes_effect = returns || self.dice.percent(50);
        let in_flight = InFlight { client, op, invoked: stamp, returns, takes_effect, reply: None };
        self.in_flight.insert(call, in_flight);
        let wait = 1 + self.dice.below(500);
        let late = if returns { 1 } else { 1 + self.dice.below(20) };
        self.schedule(time + wait * late, Moment::Effect { call });
        if !returns {
            self.clients[client].waits_for = Some(call);
            self.schedule(time + 1_000, Moment::Invoke { client });
        }
    }

    fn take_effect(&mut self, call: usize, time: u64) {
        let in_flight = self.in_flight.get_mut(&call).expect("a call takes effect before it returns");
        if in_flight.takes_effect {
            let reply = self.register.invoke(&in_flight.op);
            let untold = matches!(reply, Reply::NotSwapped { .. }) && !self.load.tells_seen;
            in_flight.reply = Some(if untold { Reply::Mismatch } else { reply });
        }
        if in_flight.returns {
            let wait = 1 + self.dice.below(500);
            self.schedule(time + wait, Moment::Return { call });
        } else {
            self.in_flight.remove(&call);
        }
    }

    fn give_back(&mut self, call: usize, time: u64, stamp: Time) {
        let in_flight = self.in_flight.remove(&call).expect("a call returns once");
        let InFlight { client, op, invoked, reply, .. } = in_flight;
        let mut reply = reply.expect("what returns has taken effect");
        if let Some(plant) = &mut self.plant {
            let is_late = call * 100 >= 95 * self.load.operations;
            plant.give_back(&op, &mut reply, invoked, stamp, is_late);
        }
        let client_of_it = &mut self.clients[client];
        client_of_it.saw = match (&op, &reply) {
            (_, Reply::Read { value } | Reply::NotSwapped { seen: value }) => *value,
            (Op::Write { value, .. } | Op::Cas { to: value, .. }, Reply::Write | Reply::Swapped) => {
                Some(*value)
            }
            _ => client_of_it.saw,
        };
        let process = ProcessId(client_of_it.process);
        (self.tell)(call, Event::Complete { time: stamp, process, completion: Completion::Ok(reply) });
        let pause = self.dice.below(100);
        self.schedule(time + pause, Moment::Invoke { client });
    }
}

/// A stale read that no history explains, however the rest of it turns out: of a value all of whose writers had
/// returned before another was written, by an operation that had returned before the read was invoked.
///
/// ```text
/// |- the last write of v -|  |- write of another -|  |- read v -|
/// ```
///
/// Of few values the largest is taken, which is written no more near the end and is in use again after the read;
/// no write of it is left without a return until then. Of unique values the first that is written near the end.
#[derive(Default)]
struct Plant {
    value: Option<u64>,
    /// Writers of the value that have not returned.
    open: usize,
    last_return: Time,
    /// When another value had been written for certain.
    overwritten: Option<Time>,
    is_done: bool,
}

impl Plant {
    fn invoke(&mut self, op: &mut Op, returns: &mut bool, is_near_the_end: bool) {
        let (Op::Write { value, .. } | Op::Cas { to: value, .. }) = op else { return };
        if self.is_done {
            return;
        }
        if self.value.is_none() && is_near_the_end {
            self.value = Some(*value);
        } else if is_near_the_end && self.value == Some(*value) {
            *value = 1;
        }
        if self.value == Some(*value) {
            *returns = true;
            self.open += 1;
            self.overwritten = None;
        }
    }

    fn give_back(&mut self, op: &Op, reply: &mut Reply, invoked: Time, now: Time, is_late: bool) {
        let Some(planted) = self.value.filter(|_| !self.is_done) else { return };
        match (op, &reply) {
            (Op::Write { value, .. } | Op::Cas { to: value, .. }, _) if *value == planted => {
                self.open -= 1;
                self.last_return = now;
            }
            (_, Reply::Write | Reply::Swapped) if self.open == 0 && invoked > self.last_return => {
                self.overwritten = self.overwritten.or(Some(now));
            }
            (Op::Read { .. }, _) if is_late && self.overwritten.is_some_and(|by| by < invoked) => {
                *reply = Reply::Read { value: Some(planted) };
                self.is_done = true;
            }
            _ => {}
        }
    }
}
