//! The load of a real run is judged with little work, counted in configurations and not by a clock: a slow
//! machine finds the same.

use checkers::Budget;
use checkers::history::{Op, Reply};
use checkers::linearizable::{Call, Judgement, Outcome, Reductions, judge, search};
use checkers::model::{Register, SequentialSpec};

/// SplitMix64: enough for a load.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// One key under closed-loop clients; of a hundred operations `info_percent` never return, half of which
/// take effect.
fn key_load(seed: u64, operations: usize, clients: usize, info_percent: u64) -> Vec<Call<Register>> {
    let mut dice = Dice(seed);
    let mut register = Register::default();
    // For each client when it is free again.
    let mut free = vec![0; clients];
    let mut planned: Vec<(u64, u64, u64, bool)> = Vec::new();
    for _ in 0..operations {
        let client = (0..clients).min_by_key(|&client| free[client]).expect("a client");
        let invoked = free[client] + 1 + dice.below(20);
        let effect = invoked + 1 + dice.below(40);
        let returned = effect + 1 + dice.below(40);
        free[client] = returned;
        planned.push((effect, invoked, returned, dice.below(100) < info_percent));
    }
    planned.sort_unstable();
    let mut calls = Vec::new();
    for (id, (_, invoked, returned, lost)) in planned.into_iter().enumerate() {
        let key = String::new();
        let value = id as u64 + 1;
        let op = match (dice.below(3), register.value) {
            (0, _) => Op::Read { key },
            (1, Some(held)) => Op::Cas { key, from: held.saturating_sub(dice.below(2)), to: value },
            _ => Op::Write { key, value },
        };
        let takes_effect = !lost || dice.below(2) == 0;
        let reply = if takes_effect { Some(register.invoke(&op)) } else { None };
        let (ret, returned) = if lost { (None, None) } else { (reply, Some(returned)) };
        calls.push(Call { id, op, ret, invoked, returned });
    }
    calls
}

/// Makes the read nearest before `percent` of the history return a value overwritten long before.
fn plant_stale_read(calls: &mut [Call<Register>], percent: usize) {
    let position = calls.len() * percent / 100;
    let stale = calls[..position / 2].iter().rev().find_map(|call| match (&call.op, &call.ret) {
        (&Op::Write { value, .. }, Some(_)) => Some(value),
        _ => None,
    });
    let read = calls[..position]
        .iter_mut()
        .rev()
        .find(|call| matches!((&call.op, &call.ret), (Op::Read { .. }, Some(_))))
        .expect("a third of all operations are reads");
    read.ret = Some(Reply::Read { value: stale });
}

fn configurations(calls: &[Call<Register>]) -> (bool, u64) {
    let searched = search(&Register::default(), calls, Budget::default(), Reductions::ALL);
    match searched.outcome {
        Outcome::Linearizable(_) => (true, searched.configurations),
        Outcome::NotLinearizable(_) => (false, searched.configurations),
        Outcome::OutOfBudget(_) => panic!("out of budget"),
    }
}

#[test]
fn a_typical_key_costs_hundreds_of_configurations() {
    for seed in 0..100 {
        let calls = key_load(seed, 150, 10, 10);
        let (valid, cost) = configurations(&calls);
        assert!(valid && cost < 500, "seed {seed}: valid {valid} after {cost}");
        for percent in [30, 60, 95] {
            let mut calls = calls.clone();
            plant_stale_read(&mut calls, percent);
            let (valid, cost) = configurations(&calls);
            assert!(!valid && cost < 5_000, "seed {seed}, {percent} %: valid {valid} after {cost}");
        }
    }
}

#[test]
fn a_violation_in_a_hot_key_has_a_small_core() {
    for seed in 0..5 {
        let mut calls = key_load(seed, 2_000, 10, 2);
        plant_stale_read(&mut calls, 95);
        match judge(&Register::default(), &calls, Budget::default()) {
            Judgement::NotLinearizable(core) => assert!(core.len() <= 6, "seed {seed}: {core:#?}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}
