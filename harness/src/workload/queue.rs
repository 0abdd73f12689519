//! Queues: unique elements go in at one end and come out at the other.
//!
//! A queue cannot be read without taking from it. So readers take, and as there are about as many of them as of mixed
//! seats, those mostly put: queues stay short, and a node that is behind is caught when it calls one empty that is not.

use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind, Reply, Value};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Part, Seat, Workload};

/// Queues in use at a time.
const KEYS_IN_USE: usize = 5;
/// Operations on a queue before it is used up.
const OPERATIONS_PER_KEY: u32 = 120;

/// The workload.
pub struct Queue;

impl Workload for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn about(&self) -> &'static str {
        "independent queues: unique elements put in and taken out in order, guarded by the revision"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Enqueue, OpKind::Dequeue]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        let keys = Keys::new("q", KEYS_IN_USE, OPERATIONS_PER_KEY);
        Arc::new(Queues { state: Mutex::new(State { keys, next_element: 0, waiting: Vec::new() }) })
    }
}

struct Queues {
    state: Mutex<State>,
}

struct State {
    keys: Keys<()>,
    next_element: Value,
    /// What may still be in a queue, with its queue.
    waiting: Vec<(Value, String)>,
}

impl Generator for Queues {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let takes = match seat.part {
            Part::Mixed => rng.random_ratio(1, 4),
            Part::Reader => true,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        let key = state.keys.draw(rng).name.clone();
        if takes {
            return Op::Dequeue { key };
        }
        state.next_element += 1;
        let value = state.next_element;
        state.waiting.push((value, key.clone()));
        Op::Enqueue { key, value }
    }

    fn completed(&self, _seat: Seat, op: &Op, completion: &Completion) {
        let gone = match (op, completion) {
            (Op::Dequeue { .. }, Completion::Ok(Reply::Dequeue { value: Some(value) })) => value,
            (Op::Enqueue { value, .. }, Completion::Fail { .. }) => value,
            _ => return,
        };
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        state.waiting.retain(|(value, _)| value != gone);
    }

    /// Empties every queue: as many takes as it may still hold, and one more that finds it empty.
    fn final_reads(&self) -> Vec<Op> {
        let state = self.state.lock().expect("no generator panics while it holds the lock");
        let mut takes = Vec::new();
        for key in state.keys.used() {
            let waiting = state.waiting.iter().filter(|(_, queue)| *queue == key).count();
            takes.extend(std::iter::repeat_n(Op::Dequeue { key }, waiting + 1));
        }
        takes
    }
}
