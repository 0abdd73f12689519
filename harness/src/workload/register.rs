//! Registers with read, write and compare-and-set.
//!
//! Every value is written at most once in a run, so a value read names the write that it came from. A compare-and-set
//! expects the value that was last seen in the register, so that a fair share of them succeeds.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Reply, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Registers in use at a time.
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
        let keys = Keys::new("r", KEYS_IN_USE, OPERATIONS_PER_KEY);
        Arc::new(Registers { state: Mutex::new(State { keys, next_value: 0 }) })
    }
}

struct Registers {
    state: Mutex<State>,
}

struct State {
    /// With the value last seen in each.
    keys: Keys<Option<Value>>,
    next_value: Value,
}

impl Generator for Registers {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        let drawn = state.keys.draw(rng);
        let (key, seen) = (drawn.name.clone(), drawn.state);
        let kind = match seat.part {
            Part::Mixed => rng.random_range(0..3),
            Part::Reader => 0,
        };
        let mut unique = || {
            state.next_value += 1;
            state.next_value
        };
        match (kind, seen) {
            (0, _) => Op::Read { key },
            // Nothing has been seen in it yet, so there is nothing to expect.
            (1, _) | (_, None) => Op::Write { key, value: unique() },
            (_, Some(from)) => Op::Cas { key, from, to: unique() },
        }
    }

    fn completed(&self, _seat: Seat, op: &Op, completion: &Completion) {
        let (key, seen) = match (op, completion) {
            (Op::Read { key }, Completion::Ok(Reply::Read { value })) => (key, *value),
            (Op::Write { key, value }, Completion::Ok(Reply::Write)) => (key, Some(*value)),
            (Op::Cas { key, to, .. }, Completion::Ok(Reply::Swapped)) => (key, Some(*to)),
            (Op::Cas { key, .. }, Completion::Ok(Reply::NotSwapped { seen })) => (key, *seen),
            _ => return,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        if let Some(last_seen) = state.keys.state(key) {
            *last_seen = seen.or(*last_seen);
        }
    }

    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        state.keys.used().into_iter().map(|key| Op::Read { key }).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_swap_expects_the_value_last_seen() {
        let registers = Register.generator();
        let seat = Seat::of(0, 1);
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let first = loop {
            match registers.next(seat, &mut rng) {
                op @ Op::Write { .. } => break op,
                _ => continue,
            }
        };
        registers.completed(seat, &first, &Completion::Ok(Reply::Write));
        let Op::Write { key: written, value } = first else { unreachable!("it is a write") };
        let swap = loop {
            match registers.next(seat, &mut rng) {
                Op::Cas { key, from, .. } if key == written => break from,
                _ => continue,
            }
        };
        assert_eq!(swap, value);
    }
}
