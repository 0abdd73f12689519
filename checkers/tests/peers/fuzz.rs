//! Small random histories, and the comparison of all verdicts on them.
//!
//! A history is drawn from a seed alone, and the seeds of a run are consecutive, so a disagreement is named by one
//! number. All kinds occur: unique values and tiny domains, operations of each kind that never return,
//! compare-and-sets that are refused with and without the value seen, equal stamps, and falsified replies.

use std::panic::catch_unwind;

use checkers::Budget;
use checkers::history::{Op, Reply};
use checkers::linearizable::{Call, Judgement, judge};
use checkers::model::Register;

use super::dice::Dice;
use super::load::{Load, perform};
use super::others;

/// What a run of the fuzzer saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub histories: u64,
    pub illegal: u64,
    /// Histories that stateright's tester judged, too.
    pub tiny: u64,
    /// Seeds of histories on which two checkers differ, with what differed.
    pub disagreements: Vec<(u64, String)>,
}

/// The history of a seed.
pub fn draw(seed: u64) -> Vec<Call<Register>> {
    // Neighbouring seeds must not give neighbouring streams.
    let mut dice = Dice::new(Dice::new(seed).roll());
    let mut calls = perform(Load {
        operations: 4 + dice.below(14) as usize,
        clients: 2 + dice.below(4) as usize,
        cas: dice.percent(60),
        values: dice.percent(60).then(|| 2 + dice.below(3)),
        tells_seen: dice.percent(50),
        never_return_percent: [0, 10, 30][dice.below(3) as usize],
        violation: false,
        seed: dice.roll(),
    });
    if dice.percent(67) {
        for _ in 0..=dice.below(2) {
            falsify(&mut calls, &mut dice);
        }
    }
    if dice.percent(25) {
        // Coarser stamps make neighbours equal, which can only widen intervals.
        let grain = 2 + dice.below(3);
        for call in &mut calls {
            call.invoked /= grain;
            call.returned = call.returned.map(|returned| returned / grain);
        }
    }
    calls
}

/// Gives a read another value of the history, or turns the outcome of a compare-and-set around.
fn falsify(calls: &mut [Call<Register>], dice: &mut Dice) {
    let source = dice.below(calls.len() as u64) as usize;
    let other = match calls[source].op {
        Op::Write { value, .. } | Op::Cas { to: value, .. } => Some(value),
        _ => None,
    };
    let victim = dice.below(calls.len() as u64) as usize;
    let victim = &mut calls[victim];
    victim.ret = match victim.ret.take() {
        Some(Reply::Read { .. }) => Some(Reply::Read { value: other }),
        Some(Reply::Swapped) if dice.percent(50) => Some(Reply::Mismatch),
        Some(Reply::Swapped) => Some(Reply::NotSwapped { seen: other }),
        Some(Reply::NotSwapped { .. } | Reply::Mismatch) if dice.percent(50) => Some(Reply::Swapped),
        same => same,
    };
}

/// Judges the histories of so many seeds by all checkers.
pub fn compare(first_seed: u64, histories: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in first_seed..first_seed + histories {
        let calls = draw(seed);
        let expected = others::porcupine(&others::returning(&calls));
        tally.histories += 1;
        tally.illegal += u64::from(!expected);
        let verdict = |linearizable: bool| if linearizable { "linearizable" } else { "illegal" };
        let disagreements = &mut tally.disagreements;
        let mut dispute = |problem: String| disagreements.push((seed, problem));
        let differs =
            |who: &str, says: &str| format!("porcupine-rs says {}, {who} says {says}", verdict(expected));
        // The judge checks its own answers and panics if they do not hold.
        let Ok(judgement) = catch_unwind(|| judge(&Register::default(), &draw(seed), Budget::default()))
        else {
            dispute("the judge contradicts itself".to_owned());
            continue;
        };
        match judgement {
            Judgement::Linearizable if !expected => dispute(differs("judge", verdict(true))),
            Judgement::NotLinearizable(_) if expected => dispute(differs("judge", verdict(false))),
            Judgement::NotLinearizable(core) if others::porcupine(&others::returning(&core)) => {
                dispute(format!("the core proves nothing: {core:?}"));
            }
            Judgement::Unknown { .. } => dispute(differs("judge", "unknown")),
            Judgement::Linearizable | Judgement::NotLinearizable(_) => {}
        }
        // Without a memo its time explodes with the number of operations.
        if calls.len() <= 8 {
            tally.tiny += 1;
            let says = others::stateright(&calls);
            if says != expected {
                dispute(differs("stateright", verdict(says)));
            }
        }
    }
    tally
}
