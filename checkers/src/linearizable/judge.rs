//! Judges the calls of one object: the zones where they apply, the searches elsewhere.
//!
//! One thread, no clock, and a budget of work: the same calls and the same budget give the same judgement.

use super::call::{Call, replay};
use super::search::{Outcome, Reductions, Searched, drop_unobservable, search};
use super::shrink::shrink;
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

/// Judges the calls of one object.
pub fn judge<M: Model>(initial: &M, mut calls: Vec<Call<M>>, budget: Budget) -> Judgement<M> {
    match zones(initial, &calls) {
        Zones::Linearizable(_) => return Judgement::Linearizable,
        Zones::NotLinearizable(core) => {
            let core: Vec<Call<M>> = core.into_iter().map(|position| calls[position].clone()).collect();
            return Judgement::NotLinearizable(shrink(initial, &core, budget));
        }
        Zones::NotApplicable => {}
    }
    drop_unobservable(&mut calls);
    let Searched { outcome, configurations } = search(initial, &calls, budget, Reductions::All);
    match outcome {
        Outcome::Linearizable(order) => {
            assert!(replay(initial, &calls, &order), "an order that the search found can be replayed");
            Judgement::Linearizable
        }
        Outcome::NotLinearizable(_) => {
            let core = shrink(initial, &calls, budget);
            let second = search(initial, &core, budget, Reductions::None).outcome;
            assert!(
                !matches!(second, Outcome::Linearizable(_)),
                "a search without reductions finds no order either"
            );
            Judgement::NotLinearizable(core)
        }
        Outcome::OutOfBudget(longest) => Judgement::Unknown {
            configurations,
            ordered: longest.into_iter().map(|position| calls[position].id).collect(),
        },
    }
}
