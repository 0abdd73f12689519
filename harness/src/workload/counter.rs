//! Counters: guarded increments and reads.
//!
//! The amounts added to one counter all differ, so that an increment of unknown end cannot stand in for another one that
//! was lost: the sum would be another.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Counters in use at a time.
const KEYS_IN_USE: usize = 5;
/// Operations on a counter before it is used up.
const OPERATIONS_PER_KEY: u32 = 120;

/// The workload.
pub struct Counter;

impl Workload for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn about(&self) -> &'static str {
        "independent counters: increments guarded by the revision, no two of one amount; reads"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Add, OpKind::Read]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        Arc::new(Counters { keys: Mutex::new(Keys::new("c", KEYS_IN_USE, OPERATIONS_PER_KEY)) })
    }
}

struct Counters {
    /// With the amount that was last added to each.
    keys: Mutex<Keys<Value>>,
}

impl Generator for Counters {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let is_read = match seat.part {
            Part::Mixed => rng.random_ratio(1, 3),
            Part::Reader => true,
        };
        let mut keys = self.keys.lock().expect("no generator panics while it holds the lock");
        let drawn = keys.draw(rng);
        let key = drawn.name.clone();
        if is_read {
            return Op::Read { key };
        }
        drawn.state += 1;
        Op::Add { key, value: drawn.state }
    }

    fn completed(&self, _seat: Seat, _op: &Op, _completion: &Completion) {}

    fn final_reads(&self) -> Vec<Op> {
        let keys = self.keys.lock().expect("no generator panics while it holds the lock");
        keys.used().into_iter().map(|key| Op::Read { key }).collect()
    }
}
