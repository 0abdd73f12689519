//! Judges the calls of one object: the zones where they apply, the searches elsewhere.
//!
//! One thread, no clock, and a budget of work: the same calls and the same budget give the same judgement.

use super::call::{Call, replay};
use super::reductions::Reductions;
use super::search::{Engine, Outcome, Searched, search, search_by};
use super::shrink::{shrink, shrink_from};
use super::zones::{Zones, zones};
use crate::finding::Budget;
use crate::model::Model;

/// What was found about one object.
#[derive(Clone, Debug)]
pub enum Judgement<M: Model> {
    /// An order was found and replayed.
    Linearizable,
    /// There is none, and this core of the calls proves it.
    NotLinearizable(Vec<Call<M>>),
    /// The budget ended first.
    Unknown {
        /// The configurations tried.
        configurations: u64,
        /// The ids of the calls in the longest order found.
        ordered: Vec<usize>,
    },
}

/// Cores of the zones up to this size are shrunk further. Longer ones are long chains of swaps, each of which the
/// next one rests on.
const SHRUNK_MAX: usize = 64;

/// Judges the calls of one object.
pub fn judge<M: Model>(initial: &M, calls: &[Call<M>], budget: Budget) -> Judgement<M> {
    let pick =
        |core: Vec<usize>| core.into_iter().map(|position| calls[position].clone()).collect::<Vec<_>>();
    match zones(initial, calls) {
        Zones::Linearizable(_) => return Judgement::Linearizable,
        Zones::Overwritten(core) => {
            let core = pick(core);
            confirm(initial, &core, budget);
            return Judgement::NotLinearizable(core);
        }
        Zones::NotLinearizable(core) => {
            let mut core = pick(core);
            if core.len() <= SHRUNK_MAX {
                core = shrink(initial, &core, budget);
                confirm(initial, &core, budget);
            }
            return Judgement::NotLinearizable(core);
        }
        Zones::NotApplicable => {}
    }
    let Searched { outcome, configurations, refuted_at } = search(initial, calls, budget, Reductions::ALL);
    match outcome {
        Outcome::Linearizable(order) => {
            assert!(replay(initial, calls, &order), "an order that the search found can be replayed");
            Judgement::Linearizable
        }
        Outcome::NotLinearizable(_) => {
            let core = shrink_from(initial, calls, refuted_at, budget);
            confirm(initial, &core, budget);
            Judgement::NotLinearizable(core)
        }
        Outcome::OutOfBudget(longest) => Judgement::Unknown {
            configurations,
            ordered: longest.into_iter().map(|position| calls[position].id).collect(),
        },
    }
}

/// A second opinion on a core, by an engine without hashes and without reductions.
fn confirm<M: Model>(initial: &M, core: &[Call<M>], budget: Budget) {
    let second = search_by(Engine::Sets, initial, core, budget, Reductions::NONE).outcome;
    assert!(!matches!(second, Outcome::Linearizable(_)), "a search without reductions finds no order either");
}
