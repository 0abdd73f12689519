//! Lists that grow at their end: appends of unique elements, and reads of whole lists.
//!
//! A read shows the order of all appends before it, so one read judges many operations.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Lists in use at a time.
const KEYS_IN_USE: usize = 5;
/// Operations on a list before it is used up; about a third of them append to it.
const OPERATIONS_PER_KEY: u32 = 120;

/// The workload.
pub struct Append;

impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn about(&self) -> &'static str {
        "independent lists: appends of unique elements guarded by the revision, reads of whole lists"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Append, OpKind::Read]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        let keys = Keys::new("a", KEYS_IN_USE, OPERATIONS_PER_KEY);
        Arc::new(Lists { state: Mutex::new(State { keys, next_element: 0 }) })
    }
}

struct Lists {
    state: Mutex<State>,
}

struct State {
    keys: Keys<()>,
    next_element: Value,
}

impl Generator for Lists {
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
        Op::Append { key, value: state.next_element }
    }

    fn completed(&self, _seat: Seat, _op: &Op, _completion: &Completion) {}

    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        state.keys.used().into_iter().map(|key| Op::Read { key }).collect()
    }
}
