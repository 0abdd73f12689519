//! Shrinks a history that is not linearizable to a small one that still proves it.
//!
//! Only moves are used that keep every linearizable history linearizable. So if the small history is not
//! linearizable, neither is the one it came from, and a reader who believes the small one is done.

use std::collections::HashSet;

use super::call::Call;
use super::reductions::Reductions;
use super::search::{Outcome, Searched, search};
use super::zones::{Zones, zones};
use crate::finding::Budget;
use crate::model::{Held, Model, RegisterView};

/// A core of a history that is not linearizable: nothing that a move could still remove.
///
/// `calls` must not be linearizable. The probes together cost at most about the budget of one search; when it
/// is used up the core is larger than it could be, and just as valid.
pub fn shrink<M: Model>(initial: &M, calls: &[Call<M>], budget: Budget) -> Vec<Call<M>> {
    shrink_from(initial, calls, None, budget)
}

/// As [`shrink`], where it is known that every prefix that ends before `earliest` has an order.
pub(super) fn shrink_from<M: Model>(
    initial: &M,
    calls: &[Call<M>],
    earliest: Option<u64>,
    budget: Budget,
) -> Vec<Call<M>> {
    let mut probe = Probe { initial, budget, left: budget.configurations };
    let core = shortest_prefix(&mut probe, calls, earliest);
    drop_all_units(&mut probe, core)
}

fn drop_all_units<M: Model>(probe: &mut Probe<'_, M>, mut core: Vec<Call<M>>) -> Vec<Call<M>> {
    let mut size = core.len().div_ceil(2).max(1);
    loop {
        let before = core.len();
        core = drop_units(probe, core, size);
        // Large bites first; then single ones until none succeeds, since one may make room for another.
        if size > 1 {
            size = size.div_ceil(2);
        } else if core.len() == before {
            return core;
        }
    }
}

struct Probe<'a, M> {
    initial: &'a M,
    budget: Budget,
    left: u64,
}

impl<M: Model> Probe<'_, M> {
    /// The calls, if they are surely not linearizable.
    fn still_illegal(&mut self, calls: Vec<Call<M>>) -> Option<Vec<Call<M>>> {
        match zones(self.initial, &calls) {
            Zones::NotLinearizable(_) | Zones::Overwritten(_) => return Some(calls),
            Zones::Linearizable(_) => return None,
            Zones::NotApplicable => {}
        }
        let searched = self.search(&calls);
        match searched.outcome {
            Outcome::NotLinearizable(_) => Some(calls),
            Outcome::Linearizable(_) | Outcome::OutOfBudget(_) => None,
        }
    }

    fn search(&mut self, calls: &[Call<M>]) -> Searched {
        let budget = Budget { configurations: self.left, ..self.budget };
        let searched = search(self.initial, calls, budget, Reductions::ALL);
        self.left = self.left.saturating_sub(searched.configurations);
        searched
    }
}

/// The history up to the first return that no order explains.
///
/// Sound: linearizability is closed under prefixes. What had not returned by then counts as never returned.
fn shortest_prefix<M: Model>(
    probe: &mut Probe<'_, M>,
    calls: &[Call<M>],
    earliest: Option<u64>,
) -> Vec<Call<M>> {
    if let Some(core) = earliest.and_then(|end| probe.still_illegal(prefix(calls, end))) {
        return core;
    }
    let is_late = |returned: &u64| earliest.is_none_or(|earliest| *returned >= earliest);
    let mut returns: Vec<u64> = calls.iter().filter_map(|call| call.returned).filter(is_late).collect();
    returns.sort_unstable();
    returns.dedup();
    let mut illegal = calls.to_vec();
    let (mut low, mut high) = (0, returns.len().saturating_sub(1));
    while low < high {
        let middle = low.midpoint(high);
        match probe.still_illegal(prefix(calls, returns[middle])) {
            Some(core) => {
                illegal = core;
                high = middle;
            }
            None => low = middle + 1,
        }
    }
    illegal
}

/// The calls invoked by `end`; those that had not returned by then count as never returned, and those of them
/// that change nothing as never invoked.
fn prefix<M: Model>(calls: &[Call<M>], end: u64) -> Vec<Call<M>> {
    let mut prefix: Vec<Call<M>> = calls.iter().filter(|call| call.invoked <= end).cloned().collect();
    for call in &mut prefix {
        if call.returned.is_some_and(|returned| returned > end) {
            call.returned = None;
            call.ret = None;
        }
    }
    prefix.retain(|call| call.returned.is_some() || !M::is_pure(&call.op, None));
    prefix
}

/// Tries to drop `size` units at a time, once over all units.
fn drop_units<M: Model>(probe: &mut Probe<'_, M>, mut core: Vec<Call<M>>, size: usize) -> Vec<Call<M>> {
    for chunk in units(&core).chunks(size) {
        let dropped: HashSet<usize> = chunk.iter().flatten().copied().collect();
        let rest: Vec<Call<M>> = core.iter().filter(|call| !dropped.contains(&call.id)).cloned().collect();
        if rest.len() < core.len()
            && let Some(smaller) = probe.still_illegal(rest)
        {
            core = smaller;
        }
    }
    core
}

/// What may be dropped as a whole, by the ids of the calls.
///
/// - A pure call: an order without it is still an order.
/// - All that has to do with a value of a register: whoever writes it, sees it or swaps from it, and then
///   all that has to do with the value swapped to. In any order these calls stand between two writes of
///   other values, and with all of them gone nobody who is left sees a difference. Not so with a swap that was
///   refused and did not tell by which value: it may have been one of these.
fn units<M: Model>(calls: &[Call<M>]) -> Vec<Vec<usize>> {
    let views: Vec<RegisterView> =
        calls.iter().map(|call| M::register_view(&call.op, call.ret.as_ref())).collect();
    let mut units = Vec::new();
    let hides = |view: &RegisterView| matches!(view, RegisterView::Opaque | RegisterView::Differs(_));
    if !views.iter().any(hides) {
        let mut seen = HashSet::new();
        for value in views.iter().filter_map(|view| view.writes()) {
            if seen.insert(value) {
                units.push(value_unit(calls, &views, value));
            }
        }
    }
    let pure = calls.iter().filter(|call| call.ret.is_some() && M::is_pure(&call.op, call.ret.as_ref()));
    units.extend(pure.map(|call| vec![call.id]));
    units
}

fn value_unit<M: Model>(calls: &[Call<M>], views: &[RegisterView], value: u64) -> Vec<usize> {
    let mut values: HashSet<Held> = HashSet::from([Some(value)]);
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        for view in views {
            if let &RegisterView::Swap { from, to } = view
                && from == value
                && values.insert(Some(to))
            {
                open.push(to);
            }
        }
    }
    let concerned = |view: &RegisterView| {
        view.needs().is_some_and(|held| values.contains(&held))
            || view.writes().is_some_and(|value| values.contains(&Some(value)))
    };
    calls.iter().zip(views).filter(|(_, view)| concerned(view)).map(|(call, _)| call.id).collect()
}
