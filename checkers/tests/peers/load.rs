//! Histories of one register under clients in a closed loop: each invokes, waits, and invokes again.
//!
//! Operations take effect at a random moment of their interval. Some never return; half of those take effect all
//! the same, much later. A stale read can be planted near the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use checkers::history::{Op, Reply};
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
    /// Whether a read at 95 % of the history returns a value that was overwritten long before.
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

/// Performs the load on a register.
pub fn perform(load: Load) -> Vec<Call<Register>> {
    let mut run = Run {
        load,
        dice: Dice::new(load.seed),
        upcoming: BinaryHeap::new(),
        scheduled: 0,
        register: Register::default(),
        overwritten: Vec::new(),
        clients: vec![Client { saw: None }; load.clients],
        calls: Vec::with_capacity(load.operations),
        of: Vec::with_capacity(load.operations),
        planted: !load.violation,
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
            Moment::Invoke { client } if run.calls.len() < load.operations => run.invoke(client, time, stamp),
            Moment::Invoke { .. } => {}
            Moment::Effect { call } => run.take_effect(call, time, stamp),
            Moment::Return { call } => run.give_back(call, time, stamp),
        }
    }
    run.calls
}

#[derive(Clone)]
struct Client {
    /// The value that it last read or wrote.
    saw: Option<u64>,
}

struct Run {
    load: Load,
    dice: Dice,
    upcoming: BinaryHeap<Reverse<(u64, u64, Moment)>>,
    scheduled: u64,
    register: Register,
    /// Values that were overwritten, and when.
    overwritten: Vec<(Option<u64>, u64)>,
    clients: Vec<Client>,
    calls: Vec<Call<Register>>,
    /// Whose call it is, whether it returns, and whether it takes effect.
    of: Vec<(usize, bool, bool)>,
    planted: bool,
    written: u64,
}

impl Run {
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

    fn invoke(&mut self, client: usize, time: u64, stamp: u64) {
        let op = self.draw(client);
        let returns = !self.dice.percent(self.load.never_return_percent);
        let call = self.calls.len();
        self.calls.push(Call { id: call, op, ret: None, invoked: stamp, returned: None });
        self.of.push((client, returns, returns || self.dice.percent(50)));
        let wait = 1 + self.dice.below(500);
        let late = if returns { 1 } else { 1 + self.dice.below(20) };
        self.schedule(time + wait * late, Moment::Effect { call });
        if !returns {
            self.schedule(time + 1_000, Moment::Invoke { client });
        }
    }

    fn take_effect(&mut self, call: usize, time: u64, stamp: u64) {
        let (_, returns, takes_effect) = self.of[call];
        if takes_effect {
            let before = self.register.value;
            let reply = self.register.invoke(&self.calls[call].op);
            if self.register.value != before {
                self.overwritten.push((before, stamp));
            }
            let untold = matches!(reply, Reply::NotSwapped { .. }) && !self.load.tells_seen;
            self.calls[call].ret = returns.then_some(if untold { Reply::Mismatch } else { reply });
        }
        if returns {
            let wait = 1 + self.dice.below(500);
            self.schedule(time + wait, Moment::Return { call });
        }
    }

    fn give_back(&mut self, id: usize, time: u64, stamp: u64) {
        self.plant_stale_read(id);
        let (client, ..) = self.of[id];
        let call = &mut self.calls[id];
        call.returned = Some(stamp);
        self.clients[client].saw = match (&call.op, &call.ret) {
            (_, Some(Reply::Read { value } | Reply::NotSwapped { seen: value })) => *value,
            (Op::Write { value, .. } | Op::Cas { to: value, .. }, Some(Reply::Write | Reply::Swapped)) => {
                Some(*value)
            }
            _ => self.clients[client].saw,
        };
        let pause = self.dice.below(100);
        self.schedule(time + pause, Moment::Invoke { client });
    }

    fn plant_stale_read(&mut self, id: usize) {
        let near_the_end = id * 100 > 95 * self.load.operations;
        if self.planted || !near_the_end || !matches!(self.calls[id].op, Op::Read { .. }) {
            return;
        }
        let before = self.overwritten.partition_point(|&(_, at)| at < self.calls[id].invoked);
        // So long before that no write still open then can explain it.
        if let Some(position) = before.checked_sub(2 * self.load.clients + 2) {
            self.calls[id].ret = Some(Reply::Read { value: self.overwritten[position].0 });
            self.planted = true;
        }
    }
}
