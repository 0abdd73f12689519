//! Locks: taken by writing a token of one's own where there is none, given back by removing it.
//!
//! What it claims: the store lets nobody in while somebody's token is there, and nobody is put out by a token that is not
//! his. What it does not claim: that a lock excludes anything outside the store. There are no leases, so nothing takes a
//! lock from a process that fell silent, and a lock whose acquire or release has an unknown end may stay shut for ever.
//! Such a lock is left when its operations are used up.
//!
//! A lock cannot be read, so readers ask as the others do: who is refused learns that it is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use checkers::history::{Completion, Op, OpKind};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::keys::Keys;
use super::{Generator, Seat, Workload};

/// Locks in use at a time: about one for each usual seat, so that most attempts succeed and many meet another.
const KEYS_IN_USE: usize = 10;
/// Attempts to take a lock before it is used up.
const OPERATIONS_PER_KEY: u32 = 40;
/// A release that failed so often will not succeed: the lock does not hold the token, which is told by the failures.
const RELEASES_MAX: u32 = 50;

/// The workload.
pub struct Lock;

impl Workload for Lock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn about(&self) -> &'static str {
        "independent locks with the token of their owner, without leases: acquire, release"
    }

    fn operation_kinds(&self) -> &'static [OpKind] {
        &[OpKind::Acquire, OpKind::Release]
    }

    fn generator(&self) -> Arc<dyn Generator> {
        let state = State { keys: Keys::new("l", KEYS_IN_USE, OPERATIONS_PER_KEY), held: HashMap::new() };
        Arc::new(Locks { state: Mutex::new(state) })
    }
}

struct Locks {
    state: Mutex<State>,
}

struct State {
    keys: Keys<()>,
    /// The lock that each seat holds.
    held: HashMap<u32, Holding>,
}

struct Holding {
    key: String,
    failed_releases: u32,
}

impl Generator for Locks {
    fn next(&self, seat: Seat, rng: &mut Pcg64Mcg) -> Op {
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        if let Some(holding) = state.held.get(&seat.number) {
            let key = holding.key.clone();
            // Who takes what he holds must be refused, and holds it a little longer.
            return if rng.random_ratio(1, 5) { Op::Acquire { key } } else { Op::Release { key } };
        }
        Op::Acquire { key: state.keys.draw(rng).name.clone() }
    }

    fn completed(&self, seat: Seat, op: &Op, completion: &Completion) {
        let mut state = self.state.lock().expect("no generator panics while it holds the lock");
        match (op, completion) {
            (Op::Acquire { key }, Completion::Ok(_)) => {
                let holding = Holding { key: key.clone(), failed_releases: 0 };
                state.held.insert(seat.number, holding);
            }
            (Op::Release { .. }, Completion::Fail { .. }) => {
                let holding = state.held.get_mut(&seat.number).expect("only what is held is given back");
                holding.failed_releases += 1;
                if holding.failed_releases == RELEASES_MAX {
                    state.held.remove(&seat.number);
                }
            }
            (Op::Release { .. }, Completion::Ok(_)) | (_, Completion::Info { .. }) => {
                state.held.remove(&seat.number);
            }
            _ => {}
        }
    }

    /// There is nothing to read.
    fn final_reads(&self) -> Vec<Op> {
        Vec::new()
    }
}
