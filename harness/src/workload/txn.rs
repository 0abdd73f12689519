//! Transactions over several lists: appends of unique elements and reads of whole lists, all at once.
//!
//! The lists show in which order transactions took effect, so cycles of dependencies between them can be found, as Elle
//! does. A transaction whose guard failed has surely not happened, and nobody may ever see what it would have appended.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, MicroOp, Op, OpKind, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Lists in use at a time.
const KEYS_IN_USE: usize = 5;
/// Steps on a list before it is used up.
const STEPS_PER_KEY: u32 = 120;
/// The most steps of a transaction. Each list more makes it likelier that somebody else changes one meanwhile.
const STEPS_MAX: u32 = 4;
/// Lists that one transaction reads at the end.
const FINAL_READS: usize = 8;

/// The workload.
pub struct Txn;

impl Workload for Txn {
    fn name(&self) -> &'static str {
        "txn"
    }

    fn about(&self) -> &'static str {
        "transactions of appends and reads over several lists, guarded by the revision of each"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Txn]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        let keys = Keys::new("t", KEYS_IN_USE, STEPS_PER_KEY);
        Arc::new(Transactions { state: Mutex::new(State { keys, next_element: 0 }) })
    }
}

struct Transactions {
    state: Mutex<State>,
}

struct State {
    keys: Keys<()>,
    next_element: Value,
}

impl Generator for Transactions {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        let mut step = |rng: &mut Pcg64Mcg| {
            let key = state.keys.draw(rng).name.clone();
            let appends = match seat.part {
                Part::Mixed => rng.random_ratio(1, 2),
                Part::Reader => false,
            };
            if !appends {
                return MicroOp::Read { key, values: None };
            }
            state.next_element += 1;
            MicroOp::Append { key, value: state.next_element }
        };
        let steps = rng.random_range(1..=STEPS_MAX);
        Op::Txn { ops: (0..steps).map(|_| step(rng)).collect() }
    }

    fn completed(&self, _seat: Seat, _op: &Op, _completion: &Completion) {}

    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        let used = state.keys.used();
        let read = |key: &String| MicroOp::Read { key: key.clone(), values: None };
        used.chunks(FINAL_READS).map(|keys| Op::Txn { ops: keys.iter().map(read).collect() }).collect()
    }
}
