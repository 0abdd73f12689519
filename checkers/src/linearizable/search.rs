//! Is there an order of the calls of one object that agrees with real time and with the model?
//!
//! Two engines compete: depth-first search is quick to find an order where there is one, configuration sets are
//! quick to refute where there is none. They take turns, measured in work, on one thread, so who wins, and what is
//! found, is the same on every machine. Each keeps to its half of the budget.

use super::call::Call;
use super::dense::Dense;
use super::depth_first::{DepthFirst, Progress};
use super::reductions::Reductions;
use super::sets::Sets;
use crate::finding::Budget;
use crate::model::Model;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This order, as positions in the calls given, agrees with everything.
    Linearizable(Vec<usize>),
    /// There is none; this is a partial one that went far.
    NotLinearizable(Vec<usize>),
    /// The budget ended first; this is a partial order that went far.
    OutOfBudget(Vec<usize>),
}

/// An outcome and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// What was found.
    pub outcome: Outcome,
    /// The configurations tried.
    pub configurations: u64,
    /// Where configuration sets refuted, the time of the return that no configuration survived. No earlier prefix
    /// is without an order. The prefix up to then need not be, since the sets look ahead at what is still owed.
    pub refuted_at: Option<u64>,
}

/// Who searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Both in turns.
    Both,
    /// Depth-first search alone.
    DepthFirst,
    /// Configuration sets alone.
    Sets,
}

/// Searches for an order of `calls` that takes the object from `initial` through all that returned.
pub fn search<M: Model>(initial: &M, calls: &[Call<M>], budget: Budget, reductions: Reductions) -> Searched {
    search_by(Engine::Both, initial, calls, budget, reductions)
}

/// A turn of configuration sets, in units of one event.
const SETS_TURN: u64 = 2_048;

/// A turn of depth-first search, in entries of its list. Most histories are valid and it is soon done with those,
/// so it gets the larger share; on the others that costs little.
const DEPTH_FIRST_TURN: u64 = 4 * SETS_TURN;

/// As [`search`], by the engine named.
pub fn search_by<M: Model>(
    engine: Engine,
    initial: &M,
    calls: &[Call<M>],
    budget: Budget,
    reductions: Reductions,
) -> Searched {
    let dense = Dense::new(initial, calls, reductions);
    let share = match engine {
        Engine::Both => Budget { configurations: budget.configurations / 2, bytes: budget.bytes / 2 },
        Engine::DepthFirst | Engine::Sets => budget,
    };
    let mut sets = (engine != Engine::DepthFirst).then(|| Sets::new(&dense, share, reductions));
    let mut depth_first: Option<DepthFirst<'_, '_, M>> = None;
    let mut sets_turn = Progress::OutOfBudget;
    let mut depth_turn = Progress::OutOfBudget;
    loop {
        if let Some(sets) = &mut sets {
            sets_turn = sets.run(SETS_TURN);
        }
        if engine != Engine::Sets && !matches!(sets_turn, Progress::Found(_) | Progress::Refuted) {
            let engine = depth_first.get_or_insert_with(|| DepthFirst::new(&dense, share, reductions));
            depth_turn = engine.run(DEPTH_FIRST_TURN);
        }
        let configurations = sets.as_ref().map_or(0, Sets::configurations)
            + depth_first.as_ref().map_or(0, DepthFirst::configurations);
        let farthest = || {
            let by_sets = sets.as_ref().map_or(&[][..], Sets::longest);
            let by_depth = depth_first.as_ref().map_or(&[][..], DepthFirst::longest);
            let longer = if by_sets.len() > by_depth.len() { by_sets } else { by_depth };
            dense.positions(longer.iter().copied())
        };
        let refuted_at = || {
            let step = sets.as_ref().filter(|_| sets_turn == Progress::Refuted)?.last_return()?;
            Some(dense.steps[step as usize].returned)
        };
        let outcome = match (&sets_turn, &depth_turn) {
            (Progress::Found(order), _) | (_, Progress::Found(order)) => {
                Outcome::Linearizable(dense.positions(order.iter().copied()))
            }
            (Progress::Refuted, _) | (_, Progress::Refuted) => Outcome::NotLinearizable(farthest()),
            (Progress::OutOfBudget, Progress::OutOfBudget) => Outcome::OutOfBudget(farthest()),
            (Progress::Searching, _) | (_, Progress::Searching) => continue,
        };
        return Searched { outcome, configurations, refuted_at: refuted_at() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Op, Reply};
    use crate::linearizable::replay;
    use crate::model::Register;

    fn call(id: usize, op: Op, ret: Option<Reply>, invoked: u64, returned: Option<u64>) -> Call<Register> {
        Call { id, op, ret, invoked, returned }
    }

    /// A write of 1, then at the same time a read of 1 and a write of 2 that never returns.
    fn calls() -> Vec<Call<Register>> {
        let key = || "x".to_owned();
        vec![
            call(0, Op::Write { key: key(), value: 1 }, Some(Reply::Write), 1, Some(2)),
            call(1, Op::Read { key: key() }, Some(Reply::Read { value: Some(1) }), 3, Some(5)),
            call(2, Op::Write { key: key(), value: 2 }, None, 4, None),
        ]
    }

    #[test]
    fn replay_accepts_an_order_with_and_without_what_never_returned() {
        assert!(replay(&Register::default(), &calls(), &[0, 1]));
        assert!(replay(&Register::default(), &calls(), &[0, 1, 2]));
    }

    #[test]
    fn replay_refuses_what_the_model_or_time_forbids() {
        for (order, why) in [
            (&[0, 2, 1][..], "the read would see 2"),
            (&[1, 0], "the read would come before the write"),
            (&[0], "the read is missing"),
            (&[0, 0, 1], "the write stands there twice"),
        ] {
            assert!(!replay(&Register::default(), &calls(), order), "{why}");
        }
        let reads = |first: (u64, u64), second: (u64, u64)| {
            [first, second].map(|(invoked, returned)| {
                let read = Op::Read { key: "x".to_owned() };
                call(0, read, Some(Reply::Read { value: None }), invoked, Some(returned))
            })
        };
        assert!(!replay(&Register::default(), &reads((3, 4), (1, 2)), &[0, 1]), "the second ended before");
        assert!(replay(&Register::default(), &reads((2, 4), (1, 2)), &[0, 1]), "equal stamps are concurrent");
    }

    #[test]
    fn memory_ends_a_search_too() {
        let key = || "x".to_owned();
        let calls: Vec<_> = (0..20)
            .map(|id| call(id, Op::Write { key: key(), value: id as u64 }, Some(Reply::Write), 1, Some(9)))
            .collect();
        let budget = Budget { bytes: 1_000, ..Budget::default() };
        let searched = search(&Register::default(), &calls, budget, Reductions::ALL);
        assert!(matches!(searched.outcome, Outcome::OutOfBudget(_)), "{searched:?}");
    }
}
