//! Certificates: what a verdict rests on, and a check of it that trusts no search that found it.
//!
//! A valid verdict rests on an order, an invalid one on a core. Either is made on demand, can be kept beside the
//! history, and is checked again against it. A certificate that was tampered with, or made by a wrong engine, or for
//! another history, is refused with the reason.

use std::collections::{HashMap, HashSet};

use super::call::{Call, replay};
use super::judge::{Judgement, judge};
use super::reductions::Reductions;
use super::search::{Engine, Outcome, search, search_by};
use super::zones::{Zones, zones};
use crate::finding::Budget;
use crate::history::{History, Operation};
use crate::model::{Held, Model, Register, RegisterView};

/// What proves a verdict about the calls of one object.
#[derive(Clone, Debug)]
pub enum Certificate<M: Model> {
    /// It is linearizable: this order of the calls, by their ids, explains all that returned.
    Order(Vec<usize>),
    /// It is not: no order explains these calls, and what was left out cannot change that.
    Core(Vec<Call<M>>),
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is refused: {0}")]
pub struct Refused(String);

/// The operations of a key as the calls that are judged; a call's id is its operation's position among them.
pub fn calls_of_key(history: &History, key: &str) -> Vec<Call<Register>> {
    let of_key = |operation: &&Operation| operation.op.key() == Some(key);
    super::calls(&history.operations().iter().filter(of_key).collect::<Vec<_>>())
}

/// Judges the calls and hands out the proof; `None` if the budget ends first.
pub fn certify<M: Model>(initial: &M, calls: &[Call<M>], budget: Budget) -> Option<Certificate<M>> {
    let order = match zones(initial, calls) {
        Zones::Linearizable(order) => Some(order),
        Zones::NotLinearizable(_) | Zones::Overwritten(_) => None,
        Zones::NotApplicable => match search(initial, calls, budget, Reductions::ALL).outcome {
            Outcome::Linearizable(order) => Some(order),
            Outcome::NotLinearizable(_) => None,
            Outcome::OutOfBudget(_) => return None,
        },
    };
    if let Some(order) = order {
        return Some(Certificate::Order(order.into_iter().map(|position| calls[position].id).collect()));
    }
    match judge(initial, calls, budget) {
        Judgement::NotLinearizable(core) => Some(Certificate::Core(core)),
        Judgement::Linearizable | Judgement::Unknown { .. } => None,
    }
}

impl<M: Model> Certificate<M> {
    /// Checks the certificate against the calls that it speaks about. `Ok(true)`: they are linearizable; `Ok(false)`:
    /// they are not.
    ///
    /// # Errors
    ///
    /// The certificate does not prove what it says, or the budget does not suffice to look.
    pub fn verify(&self, initial: &M, calls: &[Call<M>], budget: Budget) -> Result<bool, Refused>
    where
        M::Op: PartialEq,
    {
        let mut positions = HashMap::new();
        for (position, call) in calls.iter().enumerate() {
            if positions.insert(call.id, position).is_some() {
                return Err(refused(format!("two calls have the id {}", call.id)));
            }
        }
        match self {
            Certificate::Order(order) => verify_order(initial, calls, &positions, order).map(|()| true),
            Certificate::Core(core) => verify_core(initial, calls, &positions, core, budget).map(|()| false),
        }
    }
}

fn refused(problem: impl Into<String>) -> Refused {
    Refused(problem.into())
}

fn verify_order<M: Model>(
    initial: &M,
    calls: &[Call<M>],
    positions: &HashMap<usize, usize>,
    order: &[usize],
) -> Result<(), Refused> {
    let position = |id: &usize| {
        positions
            .get(id)
            .copied()
            .ok_or_else(|| refused(format!("its order names call {id}, which there is not")))
    };
    let order = order.iter().map(position).collect::<Result<Vec<_>, _>>()?;
    if replay(initial, calls, &order) {
        Ok(())
    } else {
        Err(refused("its order does not explain all calls that returned, or contradicts real time"))
    }
}

/// A core proves that the history has no order either, if
///
/// 1. no order explains the core, which is searched here without reductions;
/// 2. each of its calls is one of the history's, or one that returned after the end of the core and is open in it;
/// 3. no call that was left out could be missed. One that began after the end of the core cannot: what is
///    linearizable has linearizable prefixes. A pure one cannot: in any order, take it out. And one that writes a
///    value cannot if no call of the core needs that value, and all of them are register operations: take it out of
///    an order of the history, and whatever a call of the core needs was written last before it by another call,
///    which is in the core for the same reason, and is still the last one before it. If the core begins with a
///    plain write, before all that returned of it, then one that had returned before that write began cannot be
///    missed either: take the part of an order from that write on.
fn verify_core<M: Model>(
    initial: &M,
    calls: &[Call<M>],
    positions: &HashMap<usize, usize>,
    core: &[Call<M>],
    budget: Budget,
) -> Result<(), Refused>
where
    M::Op: PartialEq,
{
    let end = core.iter().filter_map(|call| call.returned).max().unwrap_or(0);
    let mut kept = HashSet::new();
    for call in core {
        let id = call.id;
        let known = positions.get(&id).map(|position| &calls[*position]);
        let known = known.ok_or_else(|| refused(format!("its core has call {id}, which there is not")))?;
        let same_call = known.op == call.op && known.invoked == call.invoked;
        let same_return = known.ret == call.ret && known.returned == call.returned;
        let cut = call.ret.is_none() && call.returned.is_none() && known.returned.is_some_and(|at| at > end);
        if !kept.insert(id) || !same_call || !(same_return || cut) {
            return Err(refused(format!("call {id} of its core is not as the history has it")));
        }
    }
    let view = |call: &Call<M>| M::register_view(&call.op, call.ret.as_ref());
    let opaque = core.iter().any(|call| view(call) == RegisterView::Opaque);
    let is_behind = |first: &Call<M>, call: &Call<M>| {
        call.id == first.id || call.returned.is_none() || first.returned.is_some_and(|at| at < call.invoked)
    };
    let is_start = |first: &&Call<M>| {
        matches!(view(first), RegisterView::Write(_)) && core.iter().all(|call| is_behind(first, call))
    };
    let start = core.iter().find(is_start).filter(|_| !opaque).map(|first| first.invoked);
    let needed: HashSet<Held> = core.iter().filter_map(|call| view(call).needs()).collect();
    for call in calls.iter().filter(|call| !kept.contains(&call.id) && call.invoked <= end) {
        // Whatever returned after the end is open in the prefix; what is known of it may still show that it is pure.
        let ret = call.ret.as_ref().filter(|_| call.returned.is_some_and(|at| at <= end));
        let pure = M::is_pure(&call.op, ret) || M::is_pure(&call.op, call.ret.as_ref());
        let is_past = call.returned.is_some_and(|at| start.is_some_and(|start| at < start));
        let view = M::register_view(&call.op, ret);
        let written = view.writes().map(Some).or((view == RegisterView::Clear).then_some(None));
        let missed = match written {
            _ if pure || is_past => false,
            Some(held) => opaque || needed.contains(&held),
            None => true,
        };
        if missed {
            return Err(refused(format!("its core leaves out call {}, which may explain it", call.id)));
        }
    }
    match search_by(Engine::Sets, initial, core, budget, Reductions::NONE).outcome {
        Outcome::NotLinearizable(_) => Ok(()),
        Outcome::Linearizable(_) => Err(refused("an order explains its core")),
        Outcome::OutOfBudget(_) => Err(refused("the budget does not suffice to look through its core")),
    }
}
