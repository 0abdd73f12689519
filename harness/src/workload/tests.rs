//! What holds for the generator of every workload, by properties over seeds and over how operations end.

use std::collections::{BTreeSet, HashMap};

use checkers::history::Value;
use checkers::model::Object;
use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

const NODES: usize = 3;
const SEATS: u32 = 9;

/// Runs a generator as a run does, seat by seat, with every `fail_every`th operation failing and every `info_every`th of
/// unknown end; what else is asked succeeds.
fn asked(workload: &dyn Workload, seed: u64, fail_every: usize, info_every: usize) -> Vec<(Seat, Op)> {
    let generator = workload.generator();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut asked = Vec::new();
    for turn in 0..2000 {
        let seat = Seat::of(turn as u32 % SEATS, NODES);
        let op = generator.next(seat, &mut rng);
        let reason = || "as the test wants it".to_owned();
        let completion = if turn % fail_every == fail_every - 1 {
            Completion::Fail { reason: reason() }
        } else if turn % info_every == info_every - 1 {
            Completion::Info { reason: reason() }
        } else {
            Completion::Ok(reply(&op))
        };
        generator.completed(seat, &op, &completion);
        asked.push((seat, op));
    }
    asked
}

fn reply(op: &Op) -> Reply {
    match op {
        Op::Read { .. } => Reply::Read { value: None },
        Op::Write { .. } => Reply::Write,
        Op::Cas { .. } => Reply::Swapped,
        Op::Delete { .. } => Reply::Delete,
        Op::Append { .. } => Reply::Append,
        Op::Add { .. } => Reply::Add,
        Op::Enqueue { .. } => Reply::Enqueue,
        Op::Dequeue { .. } => Reply::Dequeue { value: None },
        Op::Acquire { .. } => Reply::Acquire,
        Op::Release { .. } => Reply::Release,
        Op::Txn { ops } => Reply::Txn { ops: ops.clone() },
    }
}

/// What an operation writes, with its key.
fn written(op: &Op) -> Vec<(String, Value)> {
    match op {
        Op::Write { key, value }
        | Op::Cas { key, to: value, .. }
        | Op::Append { key, value }
        | Op::Add { key, value }
        | Op::Enqueue { key, value } => vec![(key.clone(), *value)],
        Op::Txn { ops } => ops
            .iter()
            .filter_map(|op| match op {
                MicroOp::Append { key, value } => Some((key.clone(), *value)),
                MicroOp::Read { .. } => None,
            })
            .collect(),
        Op::Read { .. }
        | Op::Delete { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. } => Vec::new(),
    }
}

fn keys(op: &Op) -> Vec<String> {
    match op {
        Op::Txn { ops } => ops.iter().map(|op| op.key().to_owned()).collect(),
        other => vec![other.key().expect("what is no transaction has a key").to_owned()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_workload_keeps_the_rules_of_a_generator(seed: u64, fail_every in 2_usize..9, info_every in 5_usize..99) {
        for workload in WORKLOADS {
            let name = workload.name();
            let asked = asked(*workload, seed, fail_every, info_every);
            let object = Object::of_workload(name);

            let kinds: BTreeSet<OpKind> = asked.iter().map(|(_, op)| op.kind()).collect();
            let expected: BTreeSet<OpKind> = workload.operation_kinds().iter().copied().collect();
            prop_assert_eq!(kinds, expected, "{}", name);

            let mut values = BTreeSet::new();
            let mut operations = HashMap::<String, u32>::new();
            for (seat, op) in &asked {
                prop_assert!(op.key().is_none() || object.admits(op, None), "{} is no {} of {}", op, object.name(), name);
                for (key, value) in written(op) {
                    prop_assert!(values.insert((key.clone(), value)), "{} writes {} to {} twice", name, value, key);
                }
                for key in keys(op) {
                    *operations.entry(key).or_default() += u32::from(!matches!(op, Op::Release { .. }));
                }
                let reads = matches!(op, Op::Read { .. } | Op::Dequeue { .. } | Op::Txn { .. }) && written(op).is_empty();
                prop_assert!(seat.part == Part::Mixed || reads || object == Object::Lock, "a reader of {} asks {}", name, op);
            }
            prop_assert!(operations.len() > 5, "{} never leaves its first keys", name);
        }
    }

    #[test]
    fn the_same_random_numbers_ask_for_the_same_operations(seed: u64) {
        for workload in WORKLOADS {
            prop_assert_eq!(asked(*workload, seed, 3, 50), asked(*workload, seed, 3, 50));
            prop_assert_ne!(asked(*workload, seed, 3, 50), asked(*workload, seed.wrapping_add(1), 3, 50));
        }
    }

    #[test]
    fn keys_are_used_up(seed: u64) {
        for workload in WORKLOADS {
            let mut operations = HashMap::<String, u32>::new();
            for (_, op) in asked(*workload, seed, 7, 1999) {
                // A lock is given back, and asked for by its owner, as often as it is held.
                let counts = Object::of_workload(workload.name()) != Object::Lock;
                keys(&op).into_iter().filter(|_| counts).for_each(|key| *operations.entry(key).or_default() += 1);
            }
            prop_assert!(operations.values().all(|&operations| operations <= 120), "{}", workload.name());
        }
    }
}

#[test]
fn the_final_reads_touch_every_key_that_was_used() {
    for workload in WORKLOADS {
        let generator = workload.generator();
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let ops = (0..500).map(|turn| generator.next(Seat::of(turn % SEATS, NODES), &mut rng));
        let used: BTreeSet<String> = ops.flat_map(|op| keys(&op)).collect();
        let read: BTreeSet<String> = generator.final_reads().iter().flat_map(keys).collect();
        // Nobody can read a lock.
        let expected =
            if Object::of_workload(workload.name()) == Object::Lock { BTreeSet::new() } else { used };
        assert_eq!(read, expected, "{}", workload.name());
    }
}

#[test]
fn a_queue_is_emptied_at_the_end_of_what_it_may_still_hold() {
    let generator = Queue.generator();
    let seat = Seat::of(0, 1);
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut waiting = HashMap::<String, usize>::new();
    for turn in 0..200 {
        let op = generator.next(seat, &mut rng);
        let Op::Enqueue { key, .. } = &op else { continue };
        let failed = turn % 2 == 0;
        *waiting.entry(key.clone()).or_default() += usize::from(!failed);
        let completion =
            if failed { Completion::Fail { reason: "no".into() } } else { Completion::Ok(Reply::Enqueue) };
        generator.completed(seat, &op, &completion);
    }
    for (key, waiting) in waiting {
        let takes = generator.final_reads().iter().filter(|op| op.key() == Some(&key)).count();
        assert_eq!(takes, waiting + 1, "{key}");
    }
}

#[test]
fn a_lock_is_given_back_by_the_seat_that_took_it_and_forgotten_after_an_unknown_end() {
    let generator = Lock.generator();
    let (owner, other) = (Seat::of(0, 1), Seat::of(1, 1));
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let acquire = generator.next(owner, &mut rng);
    generator.completed(owner, &acquire, &Completion::Ok(Reply::Acquire));
    assert!((0..50).all(|_| matches!(generator.next(other, &mut rng), Op::Acquire { .. })));
    let mut ops = (0..50).map(|_| generator.next(owner, &mut rng));
    let release = ops.find(|op| matches!(op, Op::Release { .. })).expect("it is given back soon");
    assert_eq!(release.key(), acquire.key());
    generator.completed(owner, &release, &Completion::Info { reason: "timeout".into() });
    assert!((0..50).all(|_| matches!(generator.next(owner, &mut rng), Op::Acquire { .. })));
}

#[test]
fn half_of_the_seats_of_a_node_only_read() {
    let parts: Vec<Part> = (0..12).map(|number| Seat::of(number, NODES).part).collect();
    for node in 0..NODES {
        let of_node = parts.iter().skip(node).step_by(NODES).collect::<Vec<_>>();
        assert_eq!(of_node, [&Part::Mixed, &Part::Reader, &Part::Mixed, &Part::Reader]);
    }
}
