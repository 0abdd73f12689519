//! Sets that only grow: unique elements are added, and sets are read as a whole.
//!
//! Each element is a key of its own, so that adding needs no guard and never contends; a read is a range. What is lost
//! stays lost, and every later read shows it.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Sets in use at a time.
const KEYS_IN_USE: usize = 5;
/// Operations on a set before it is used up.
const OPERATIONS_PER_KEY: u32 = 120;

/// The workload.
pub struct Set;

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn about(&self) -> &'static str {
        "independent sets: unique elements, each a key of its own, read as one range"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Add, OpKind::Read]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        let keys = Keys::new("s", KEYS_IN_USE, OPERATIONS_PER_KEY);
        Arc::new(Sets { state: Mutex::new(State { keys, next_element: 0 }) })
    }
}

struct Sets {
    state: Mutex<State>,
}

struct State {
    keys: Keys<()>,
    next_element: Value,
}

impl Generator for Sets {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let is_read = match seat.part {
            Part::Mixed => rng.random_ratio(1, 3),
            Part::Reader => true,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        let key = state.keys.draw(rng).name.clone();
        if is_read {
            return Op::Read { key };
        }
        state.next_element += 1;
        Op::Add { key, value: state.next_element }
    }

    fn completed(&self, _seat: Seat, _op: &Op, _completion: &Completion) {}

    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        state.keys.used().into_iter().map(|key| Op::Read { key }).collect()
    }
}
