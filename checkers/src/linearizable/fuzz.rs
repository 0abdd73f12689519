//! The engines against each other on small random histories: every reduction singly, all of them, none, and
//! each one broken on purpose.

use stateright::semantics::SequentialSpec;

use super::hash::scatter;
use super::reductions::{REDUCTIONS, Reduction, Reductions};
use super::search::{Engine, Outcome, search_by};
use super::{Call, Judgement, Zones, judge, replay, zones};
use crate::finding::Budget;
use crate::model::{Held, Model, RegisterView};

/// A register with everything that a view knows: deletes, and swaps that fail without telling what they saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cell(Held);

#[derive(Clone, Copy, Debug)]
enum Ask {
    Read,
    Write(u64),
    Swap(u64, u64),
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Saw(Held),
    Done,
    Refused,
}

impl SequentialSpec for Cell {
    type Op = Ask;
    type Ret = Told;

    fn invoke(&mut self, ask: &Ask) -> Told {
        match *ask {
            Ask::Read => return Told::Saw(self.0),
            Ask::Write(value) => self.0 = Some(value),
            Ask::Swap(from, to) if self.0 == Some(from) => self.0 = Some(to),
            Ask::Swap(..) => return Told::Refused,
            Ask::Clear => self.0 = None,
        }
        Told::Done
    }

    fn is_valid_step(&mut self, ask: &Ask, told: &Told) -> bool {
        match (ask, told) {
            // A swap that failed and told what it saw.
            (Ask::Swap(from, _), Told::Saw(held)) => self.0 == *held && *held != Some(*from),
            _ => self.invoke(ask) == *told,
        }
    }
}

impl Model for Cell {
    fn is_pure(ask: &Ask, told: Option<&Told>) -> bool {
        matches!(ask, Ask::Read) || matches!(told, Some(Told::Refused | Told::Saw(_)))
    }

    fn register_view(ask: &Ask, told: Option<&Told>) -> RegisterView {
        match (ask, told) {
            (_, Some(&Told::Saw(held))) => RegisterView::Read(held),
            (&Ask::Swap(from, _), Some(Told::Refused)) => RegisterView::Differs(Some(from)),
            (&Ask::Write(value), _) => RegisterView::Write(value),
            (&Ask::Swap(from, to), _) => RegisterView::Swap { from, to },
            (Ask::Clear, _) => RegisterView::Clear,
            (Ask::Read, _) => RegisterView::Opaque,
        }
    }

    fn register_value(&self) -> Option<Held> {
        Some(self.0)
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 += 1;
        (scatter(self.0) >> 64) as u64 % limit
    }
}

/// A history of a few clients that overlap, mostly linearizable, then falsified a little.
fn history(seed: u64, operations_max: u64) -> Vec<Call<Cell>> {
    let mut dice = Dice(seed << 16);
    let clients = 2 + dice.below(4) as usize;
    let operations = 3 + dice.below(operations_max - 2) as usize;
    let unique = dice.below(3) == 0;
    let values = 2 + dice.below(3);
    let info_percent = [0, 15, 40][dice.below(3) as usize];
    let tells = dice.below(2) == 0;
    let deletes = dice.below(4) == 0;
    let mut cell = Cell::default();
    let mut calls: Vec<Call<Cell>> = Vec::new();
    // The call that each client waits for, and what it was told by then.
    let mut open: Vec<Option<(usize, Option<Told>)>> = vec![None; clients];
    let mut lost: Vec<usize> = Vec::new();
    let (mut time, mut fresh) = (0, 0);
    while calls.len() < operations || open.iter().any(Option::is_some) {
        time += u64::from(dice.below(4) > 0);
        if !lost.is_empty() && dice.below(4) == 0 {
            let late = lost.swap_remove(dice.below(lost.len() as u64) as usize);
            cell.apply_unknown(&calls[late].op.clone());
        }
        let client = dice.below(clients as u64) as usize;
        match open[client] {
            None if calls.len() < operations => {
                let mut value = || {
                    fresh += 1;
                    if unique { fresh } else { 1 + dice.below(values) }
                };
                let (first, second) = (value(), value());
                let op = match dice.below(if deletes { 8 } else { 7 }) {
                    0..=2 => Ask::Read,
                    3 | 4 => Ask::Write(first),
                    7 => Ask::Clear,
                    // A swap needs luck, or a look at the register.
                    _ => Ask::Swap(cell.0.filter(|_| dice.below(3) > 0).unwrap_or(first), second),
                };
                open[client] = Some((calls.len(), None));
                calls.push(Call { id: calls.len(), op, ret: None, invoked: time, returned: None });
            }
            None => {}
            Some((call, None)) if dice.below(100) < info_percent => {
                open[client] = None;
                if dice.below(2) == 0 {
                    lost.push(call);
                }
            }
            Some((call, None)) => {
                let before = cell.0;
                let told = match cell.invoke(&calls[call].op) {
                    Told::Refused if tells => Told::Saw(before),
                    told => told,
                };
                open[client] = Some((call, Some(told)));
            }
            Some((call, told)) => {
                calls[call].ret = told;
                calls[call].returned = Some(time);
                open[client] = None;
            }
        }
    }
    for _ in 0..dice.below(3) {
        falsify(&mut calls, &mut dice, tells);
    }
    calls
}

fn falsify(calls: &mut [Call<Cell>], dice: &mut Dice, tells: bool) {
    let other = match calls[dice.below(calls.len() as u64) as usize].op {
        Ask::Write(value) | Ask::Swap(_, value) => Some(value),
        Ask::Read | Ask::Clear => None,
    };
    let call = &mut calls[dice.below(calls.len() as u64) as usize];
    call.ret = match (call.op, call.ret) {
        (_, None) => None,
        (Ask::Read, _) => Some(Told::Saw(other)),
        (Ask::Swap(..), Some(Told::Done)) if !tells => Some(Told::Refused),
        (Ask::Swap(from, _), Some(Told::Done)) if other != Some(from) => Some(Told::Saw(other)),
        (Ask::Swap(..), _) => Some(Told::Done),
        (_, told) => told,
    };
}

fn brute_force(state: &Cell, left: &[Call<Cell>]) -> bool {
    let may_be_next = |call: &Call<Cell>| {
        left.iter().all(|other| other.returned.is_none_or(|returned| returned >= call.invoked))
    };
    left.iter().all(|call| call.returned.is_none())
        || left.iter().enumerate().filter(|(_, call)| may_be_next(call)).any(|(position, call)| {
            let mut after = state.clone();
            let is_possible = match &call.ret {
                Some(told) => after.is_valid_step(&call.op, told),
                None => {
                    after.apply_unknown(&call.op);
                    true
                }
            };
            let mut rest = left.to_vec();
            rest.remove(position);
            is_possible && brute_force(&after, &rest)
        })
}

/// What an engine says. An order that it gives is replayed.
fn judge_by(engine: Engine, calls: &[Call<Cell>], reductions: Reductions) -> bool {
    let searched = search_by(engine, &Cell::default(), calls, Budget::default(), reductions);
    match searched.outcome {
        Outcome::Linearizable(order) => replay(&Cell::default(), calls, &order),
        Outcome::NotLinearizable(_) => false,
        Outcome::OutOfBudget(_) => panic!("small histories are decided: {calls:#?}"),
    }
}

const ENGINES: [Engine; 2] = [Engine::DepthFirst, Engine::Sets];

#[test]
fn without_reductions_the_engines_agree_with_brute_force() {
    let mut illegal = 0;
    for seed in 0..10_000 {
        let calls = history(seed, 7);
        let expected = brute_force(&Cell::default(), &calls);
        illegal += u32::from(!expected);
        for engine in ENGINES {
            assert_eq!(
                judge_by(engine, &calls, Reductions::NONE),
                expected,
                "{seed}, {engine:?}: {calls:#?}"
            );
        }
        match zones(&Cell::default(), &calls) {
            Zones::Linearizable(_) => assert!(expected, "{seed}: {calls:#?}"),
            Zones::NotLinearizable(core) | Zones::Overwritten(core) => {
                let core: Vec<_> = core.into_iter().map(|position| calls[position].clone()).collect();
                assert!(!brute_force(&Cell::default(), &core), "{seed}: {core:#?} of {calls:#?}");
            }
            Zones::NotApplicable => {}
        }
        match judge(&Cell::default(), &calls, Budget::default()) {
            Judgement::Linearizable => assert!(expected, "{seed}: {calls:#?}"),
            Judgement::NotLinearizable(core) => {
                assert!(
                    !expected && !brute_force(&Cell::default(), &core),
                    "{seed}: {core:#?} of {calls:#?}"
                );
            }
            Judgement::Unknown { .. } => panic!("small histories are decided: {calls:#?}"),
        }
    }
    assert!((2_000..8_000).contains(&illegal), "{illegal} of 10,000 are illegal: too one-sided");
}

#[test]
fn each_reduction_alone_and_all_of_them_change_no_verdict() {
    for seed in 10_000..30_000 {
        let calls = history(seed, 12);
        let expected = judge_by(Engine::DepthFirst, &calls, Reductions::NONE);
        for engine in ENGINES {
            let agrees = |reductions| judge_by(engine, &calls, reductions) == expected;
            assert!(agrees(Reductions::ALL), "{seed}, {engine:?}, all: {calls:#?}");
            let reduction = REDUCTIONS[seed as usize % REDUCTIONS.len()];
            assert!(
                agrees(Reductions::NONE.with(reduction)),
                "{seed}, {engine:?}, {reduction:?} alone: {calls:#?}"
            );
            assert!(
                agrees(Reductions::ALL.without(reduction)),
                "{seed}, {engine:?}, all but {reduction:?}: {calls:#?}"
            );
        }
    }
}

/// How many histories it takes to notice that a reduction is unsound.
fn noticed_after(engine: Engine, reduction: Reduction) -> u64 {
    let broken = Reductions::ALL.breaking(reduction);
    let disagrees = |seed: &u64| {
        let calls = history(*seed, 12);
        judge_by(engine, &calls, broken) != judge_by(engine, &calls, Reductions::ALL)
    };
    (0..200_000).find(disagrees).unwrap_or_else(|| panic!("{engine:?}: broken {reduction:?} goes unnoticed"))
        + 1
}

#[test]
fn a_broken_reduction_is_noticed() {
    use Reduction::{Antichain, EagerPure, Identical, Junk, LastWriter, ShortKeys, Unobservable};
    for (engine, reduction) in [
        (Engine::DepthFirst, ShortKeys),
        (Engine::DepthFirst, EagerPure),
        (Engine::DepthFirst, LastWriter),
        (Engine::DepthFirst, Unobservable),
        (Engine::Sets, LastWriter),
        (Engine::Sets, Identical),
        (Engine::Sets, Antichain),
        (Engine::Sets, Unobservable),
        (Engine::Sets, Junk),
    ] {
        println!("{engine:?}, {reduction:?}: after {} histories", noticed_after(engine, reduction));
    }
}
