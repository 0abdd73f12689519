//! Registers with read, write and compare-and-set.
//!
//! Keys are independent, and each is used for a bounded number of operations, because judging a register costs
//! more the more operations overlap on it. A few keys are in use at any time; a used-up key makes place for a new
//! one. Every value is written at most once in a run, so a value read names the write that it came from.
//!
//! A compare-and-set expects the value that was last seen in the register, so that a fair share of them succeeds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Reply, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::{Generator, Part, Workload};

/// Keys in use at a time.
const KEYS_IN_USE: usize = 5;
/// Operations on a key before it is used up.
const OPERATIONS_PER_KEY: u32 = 120;

/// The workload.
pub struct Register;

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> &'static str {
        "independent registers: reads, unique writes, compare-and-set that returns the value it found"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Read, OpKind::Write, OpKind::Cas]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        Arc::new(Registers::default())
    }
}

#[derive(Default)]
struct Registers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_use: Vec<Key>,
    next_key: u32,
    next_value: Value,
    /// Keys that were ever written to or read, for the final reads.
    used: BTreeSet<u32>,
}

struct Key {
    number: u32,
    operations: u32,
    seen: Option<Value>,
}

fn name(number: u32) -> String {
    format!("r{number}")
}

impl State {
    fn key(&mut self, slot: usize) -> &mut Key {
        while self.in_use.len() < KEYS_IN_USE {
            let key = self.fresh();
            self.in_use.push(key);
        }
        if self.in_use[slot].operations == OPERATIONS_PER_KEY {
            self.in_use[slot] = self.fresh();
        }
        &mut self.in_use[slot]
    }

    fn fresh(&mut self) -> Key {
        self.next_key += 1;
        Key { number: self.next_key, operations: 0, seen: None }
    }
}

impl Generator for Registers {
    fn next(&self, part: Part, rng: &mut Pcg64Mcg) -> Op {
        let slot = rng.random_range(0..KEYS_IN_USE);
        let kind = match part {
            Part::Mixed => rng.random_range(0..3),
            Part::Reader => 0,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        let key = state.key(slot);
        key.operations += 1;
        let (number, seen) = (key.number, key.seen);
        state.used.insert(number);
        let mut unique = || {
            state.next_value += 1;
            state.next_value
        };
        let key = name(number);
        match (kind, seen) {
            (0, _) => Op::Read { key },
            // Nothing has been seen in it yet, so there is nothing to expect.
            (1, _) | (_, None) => Op::Write { key, value: unique() },
            (_, Some(from)) => Op::Cas { key, from, to: unique() },
        }
    }

    fn completed(&self, op: &Op, completion: &Completion) {
        let (key, seen) = match (op, completion) {
            (Op::Read { key }, Completion::Ok(Reply::Read { value })) => (key, *value),
            (Op::Write { key, value }, Completion::Ok(Reply::Write)) => (key, Some(*value)),
            (Op::Cas { key, to, .. }, Completion::Ok(Reply::Swapped)) => (key, Some(*to)),
            (Op::Cas { key, .. }, Completion::Ok(Reply::NotSwapped { seen })) => (key, *seen),
            _ => return,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        if let Some(key) = state.in_use.iter_mut().find(|used| name(used.number) == *key) {
            key.seen = seen.or(key.seen);
        }
    }

    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        state.used.iter().map(|&number| Op::Read { key: name(number) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn values_are_unique_and_keys_bounded() {
        let registers = Registers::default();
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut values = BTreeSet::new();
        let mut per_key = HashMap::<String, u32>::new();
        for _ in 0..5000 {
            let op = registers.next(Part::Mixed, &mut rng);
            let (key, written, completion) = match &op {
                Op::Read { key } => (key, None, Completion::Ok(Reply::Read { value: None })),
                Op::Write { key, value } => (key, Some(*value), Completion::Ok(Reply::Write)),
                Op::Cas { key, to, .. } => (key, Some(*to), Completion::Ok(Reply::Swapped)),
                other => unreachable!("the workload asks for no {}", other.kind()),
            };
            *per_key.entry(key.clone()).or_default() += 1;
            if let Some(value) = written {
                assert!(values.insert(value), "{value} is written twice");
            }
            registers.completed(&op, &completion);
        }
        assert!(per_key.values().all(|&operations| operations <= OPERATIONS_PER_KEY));
        assert_eq!(registers.final_reads().len(), per_key.len());
    }

    #[test]
    fn the_same_random_numbers_ask_for_the_same_operations() {
        let operations = |seed| {
            let registers = Registers::default();
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            (0..100).map(|_| registers.next(Part::Mixed, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(operations(7), operations(7));
        assert_ne!(operations(7), operations(8));
    }

    #[test]
    fn a_reader_only_reads() {
        let registers = Registers::default();
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        for _ in 0..100 {
            assert!(matches!(registers.next(Part::Reader, &mut rng), Op::Read { .. }));
        }
    }

    #[test]
    fn a_swap_expects_the_value_last_seen() {
        let registers = Registers::default();
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let first = loop {
            match registers.next(Part::Mixed, &mut rng) {
                op @ Op::Write { .. } => break op,
                _ => continue,
            }
        };
        registers.completed(&first, &Completion::Ok(Reply::Write));
        let Op::Write { key: written, value } = first else { unreachable!("it is a write") };
        let swap = loop {
            match registers.next(Part::Mixed, &mut rng) {
                Op::Cas { key, from, .. } if key == written => break from,
                _ => continue,
            }
        };
        assert_eq!(swap, value);
    }
}
