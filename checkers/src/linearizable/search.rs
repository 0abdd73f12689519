//! Is there an order of the operations of one object that agrees with real time and with the model?
//!
//! Depth-first search after Wing and Gong, with Lowe's memo of configurations, over a doubly linked list of
//! invocations and returns in the manner of Porcupine. It keeps its own stack, so no history is too long for
//! it. On top of that come reductions; each says below why it loses no order.
//!
//! A *configuration* is a state and the set of operations already ordered. An operation is *enabled* in a
//! configuration if no operation outside the set returned before its invocation: exactly those before the
//! first return in the list.

use std::collections::{HashMap, HashSet};

use super::call::Call;
use crate::finding::Budget;
use crate::model::{Held, Model};

/// Whether the search may use its reductions. Without them it is slower and simpler: the second opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reductions {
    /// All of them.
    All,
    /// None: every enabled operation that makes a difference is tried in every configuration.
    None,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This order, as positions in the calls given, agrees with everything.
    Linearizable(Vec<usize>),
    /// There is none; this is the longest partial one.
    NotLinearizable(Vec<usize>),
    /// The budget ended first; this is the longest partial order so far.
    OutOfBudget(Vec<usize>),
}

/// An outcome and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// What was found.
    pub outcome: Outcome,
    /// The configurations tried.
    pub configurations: u64,
}

/// Searches for an order of `calls` that takes the object from `initial` through all that returned.
pub fn search<M: Model>(initial: &M, calls: &[Call<M>], budget: Budget, reductions: Reductions) -> Searched {
    Search::new(initial, calls, budget, reductions).run()
}

/// Leaves out the calls whose absence changes nothing.
///
/// A call that never returned and is pure constrains nothing and changes nothing. If all that is done to the
/// object is register operations, one that never returned and writes a value that nobody needs (no completed
/// operation saw it, no compare-and-set expects it) can be left out of any order that holds it: nothing
/// between it and the next write looked at the register, except for operations that never returned and so
/// may be left out as well. What it would have made possible is gone with it, so repeat until nothing changes.
///
/// A failed compare-and-set must tell the value seen for this to be sound: "it was not 5" may be *because of*
/// an unobserved write. [`RegisterView`](crate::model::RegisterView) has no such operation; it is `Opaque`.
pub fn drop_unobservable<M: Model>(calls: &mut Vec<Call<M>>) {
    calls.retain(|call| call.returned.is_some() || !M::is_pure(&call.op, None));
    let views = |calls: &[Call<M>]| -> Vec<_> {
        calls.iter().map(|call| M::register_view(&call.op, call.ret.as_ref())).collect()
    };
    loop {
        let views = views(calls);
        if views.contains(&crate::model::RegisterView::Opaque) {
            return;
        }
        let needed: HashSet<Held> = views.iter().filter_map(|view| view.needs()).collect();
        let before = calls.len();
        let mut position = 0;
        calls.retain(|call| {
            let view = views[position];
            position += 1;
            call.returned.is_some() || view.writes().is_none_or(|value| needed.contains(&Some(value)))
        });
        if calls.len() == before {
            return;
        }
    }
}

/// The end of the list, and "no value".
const NONE: usize = usize::MAX;

/// What one configuration in the memo costs: key and state, at the fill of a hash table that has just grown.
const CONFIGURATION_BYTES: u64 = 64;

struct Search<'a, M: Model> {
    calls: &'a [Call<M>],
    budget: Budget,
    reductions: Reductions,
    /// The list: entry `2 * i` is the invocation of call `i`, `2 * i + 1` its return, the last one the head.
    next: Vec<usize>,
    prev: Vec<usize>,
    /// For each call a number; the XOR of those of a set stands for the set.
    keys: Vec<u128>,
    /// Calls that returned and change no state.
    pure: Vec<bool>,
    states: States<M>,
    debts: Option<Debts>,
    memo: HashSet<(u128, u32)>,
    /// The order so far.
    stack: Vec<Step>,
    state: u32,
    set: u128,
    /// Calls that returned and are not in the order yet.
    left: usize,
    longest: Vec<usize>,
}

/// A call in the order, and how to take it back.
#[derive(Clone, Copy)]
struct Step {
    call: usize,
    state_before: u32,
    /// Ordered because it had to be, not as one choice among several.
    eager: bool,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(initial: &M, calls: &'a [Call<M>], budget: Budget, reductions: Reductions) -> Self {
        let (next, prev) = link(calls);
        let mut states = States { ids: HashMap::new(), all: Vec::new() };
        let state = states.intern(initial.clone());
        let pure = calls
            .iter()
            .map(|call| {
                reductions == Reductions::All && call.ret.is_some() && M::is_pure(&call.op, call.ret.as_ref())
            })
            .collect();
        let debts = match reductions {
            Reductions::All => Debts::of(initial, calls),
            Reductions::None => None,
        };
        Search {
            calls,
            budget,
            reductions,
            next,
            prev,
            keys: set_keys(calls.len()),
            pure,
            states,
            debts,
            memo: HashSet::new(),
            stack: Vec::with_capacity(calls.len()),
            state,
            set: 0,
            left: calls.iter().filter(|call| call.returned.is_some()).count(),
            longest: Vec::new(),
        }
    }

    fn run(mut self) -> Searched {
        self.order_pure_calls();
        let mut entry = self.first();
        while self.left > 0 {
            if self.memo.len() as u64 >= self.budget.configurations || self.bytes() > self.budget.bytes {
                self.remember_longest();
                return self.end(Outcome::OutOfBudget);
            }
            if entry != NONE && entry.is_multiple_of(2) {
                if self.try_call(entry / 2) {
                    self.order_pure_calls();
                    entry = self.first();
                } else {
                    entry = self.next[entry];
                }
            } else {
                // This call has returned, so nothing behind it may come first, and all before it was tried.
                self.remember_longest();
                match self.backtrack() {
                    Some(tried) => entry = self.next[2 * tried],
                    None => return self.end(Outcome::NotLinearizable),
                }
            }
        }
        self.longest = self.order();
        self.end(Outcome::Linearizable)
    }

    fn end(self, outcome: fn(Vec<usize>) -> Outcome) -> Searched {
        Searched { outcome: outcome(self.longest), configurations: self.memo.len() as u64 }
    }

    fn order(&self) -> Vec<usize> {
        self.stack.iter().map(|step| step.call).collect()
    }

    fn first(&self) -> usize {
        self.next[2 * self.calls.len()]
    }

    fn bytes(&self) -> u64 {
        self.memo.len() as u64 * CONFIGURATION_BYTES + self.states.bytes()
    }

    /// Orders a call next if it is possible here and leads to a configuration that was not tried.
    fn try_call(&mut self, call: usize) -> bool {
        if self.pure[call] {
            // It was not possible here, or it would be in the order already.
            return false;
        }
        let Some(state) = self.states.step(self.state, &self.calls[call]) else { return false };
        // A call that never returned and does nothing here is not needed here: leaving it out keeps every
        // order that follows, and it may still be used later.
        if self.calls[call].returned.is_none() && state == self.state {
            return false;
        }
        if state != self.state && self.leaves_a_debt(call) {
            return false;
        }
        if !self.memo.insert((self.set ^ self.keys[call], state)) {
            return false;
        }
        self.push(call, state, false);
        true
    }

    /// Orders every pure call that is enabled and possible, without trying anything else in its place.
    ///
    /// Sound: take any order that continues from here and move the call to its front. It is possible here,
    /// it changes no state, and nothing left has to precede it, since it is enabled.
    fn order_pure_calls(&mut self) {
        if self.reductions == Reductions::None {
            return;
        }
        let mut entry = self.first();
        while entry != NONE && entry.is_multiple_of(2) {
            let call = entry / 2;
            let mut following = self.next[entry];
            if self.pure[call] && self.states.step(self.state, &self.calls[call]).is_some() {
                if following == entry + 1 {
                    following = self.next[following];
                }
                self.push(call, self.state, true);
            }
            entry = following;
        }
    }

    /// Whether the call would overwrite a value that is still owed to somebody and can never come back.
    ///
    /// Sound: if a completed call that is not ordered yet needs the present value, and no call left can
    /// write it (those not yet invoked and those that never returned included), then after this step the
    /// value never returns and the debt is never paid.
    fn leaves_a_debt(&self, call: usize) -> bool {
        let Some(debts) = &self.debts else { return false };
        let Some(held) = debts.index(self.states.all[self.state as usize].register_value()) else {
            return false;
        };
        let own = u32::from(debts.needs[call] == held);
        debts.owed[held] > own && debts.writers[held] == 0
    }

    fn push(&mut self, call: usize, state: u32, eager: bool) {
        for entry in [2 * call, 2 * call + 1] {
            let (before, after) = (self.prev[entry], self.next[entry]);
            self.next[before] = after;
            if after != NONE {
                self.prev[after] = before;
            }
        }
        self.set ^= self.keys[call];
        self.left -= usize::from(self.calls[call].returned.is_some());
        if let Some(debts) = &mut self.debts {
            debts.settle(call);
        }
        self.stack.push(Step { call, state_before: self.state, eager });
        self.state = state;
    }

    /// Takes back the last choice, and all that followed from it; returns what was chosen.
    fn backtrack(&mut self) -> Option<usize> {
        while let Some(Step { call, state_before, eager }) = self.stack.pop() {
            // In the opposite order of removal, so that each neighbour is in its place again.
            for entry in [2 * call + 1, 2 * call] {
                let (before, after) = (self.prev[entry], self.next[entry]);
                self.next[before] = entry;
                if after != NONE {
                    self.prev[after] = entry;
                }
            }
            self.set ^= self.keys[call];
            self.left += usize::from(self.calls[call].returned.is_some());
            if let Some(debts) = &mut self.debts {
                debts.reopen(call);
            }
            self.state = state_before;
            if !eager {
                return Some(call);
            }
        }
        None
    }

    fn remember_longest(&mut self) {
        if self.stack.len() > self.longest.len() {
            self.longest = self.order();
        }
    }
}

/// The list of invocations and returns in time order. At one time invocations come first: equal stamps mean
/// concurrent. A call that never returned has its return at the end, behind every other.
fn link<M: Model>(calls: &[Call<M>]) -> (Vec<usize>, Vec<usize>) {
    let mut entries: Vec<(u64, usize, usize)> = Vec::with_capacity(2 * calls.len());
    let mut never = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        entries.push((call.invoked, 0, 2 * index));
        match call.returned {
            Some(returned) => entries.push((returned, 1, 2 * index + 1)),
            None => never.push(2 * index + 1),
        }
    }
    entries.sort_unstable();
    let head = 2 * calls.len();
    let mut next = vec![NONE; head + 1];
    let mut prev = vec![NONE; head + 1];
    let mut last = head;
    for entry in entries.into_iter().map(|(_, _, entry)| entry).chain(never) {
        next[last] = entry;
        prev[entry] = last;
        last = entry;
    }
    (next, prev)
}

/// Numbers whose XOR stands for a set. Up to 128 calls each has a bit of its own and the XOR *is* the set.
/// Beyond that they are pseudo-random: among k configurations two are mistaken for one with a probability
/// below k²/2¹²⁹, about 10⁻²⁵ at the default budget. Such a mistake can only prune, so it can only turn valid
/// into invalid, and every invalid verdict is searched again on its core, which is small and therefore exact.
fn set_keys(calls: usize) -> Vec<u128> {
    if calls <= 128 {
        return (0..calls).map(|bit| 1 << bit).collect();
    }
    let mut state: u64 = 0x5eed;
    let mut word = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(mixed ^ (mixed >> 31))
    };
    (0..calls).map(|_| word() << 64 | word()).collect()
}

/// The states met, each with a small number.
struct States<M> {
    ids: HashMap<M, u32>,
    all: Vec<M>,
}

impl<M: Model> States<M> {
    fn intern(&mut self, state: M) -> u32 {
        if let Some(&id) = self.ids.get(&state) {
            return id;
        }
        let id = u32::try_from(self.all.len()).expect("the budget ends a search before 2³² states");
        self.all.push(state.clone());
        self.ids.insert(state, id);
        id
    }

    /// The state after the call, if the model allows it here.
    fn step(&mut self, state: u32, call: &Call<M>) -> Option<u32> {
        let mut after = self.all[state as usize].clone();
        match &call.ret {
            Some(ret) if !after.is_valid_step(&call.op, ret) => return None,
            Some(_) => {}
            None => after.apply_unknown(&call.op),
        }
        Some(self.intern(after))
    }

    fn bytes(&self) -> u64 {
        (self.all.len() * (2 * size_of::<M>() + 32)) as u64
    }
}

/// For each value of a register, how many calls that are not ordered yet need it and how many can write it.
struct Debts {
    indexes: HashMap<Held, usize>,
    owed: Vec<u32>,
    writers: Vec<u32>,
    /// For each call the value that it needs, and surely so since it returned.
    needs: Vec<usize>,
    /// For each call the value that it can write.
    writes: Vec<usize>,
}

impl Debts {
    /// `None` unless the object is a register and all that is done to it is known.
    fn of<M: Model>(initial: &M, calls: &[Call<M>]) -> Option<Debts> {
        initial.register_value()?;
        let mut indexes = HashMap::new();
        let mut index = |held: Held| {
            let fresh = indexes.len();
            *indexes.entry(held).or_insert(fresh)
        };
        let mut needs = Vec::with_capacity(calls.len());
        let mut writes = Vec::with_capacity(calls.len());
        for call in calls {
            let view = M::register_view(&call.op, call.ret.as_ref());
            if view == crate::model::RegisterView::Opaque {
                return None;
            }
            let need = if call.returned.is_some() { view.needs() } else { None };
            needs.push(need.map_or(NONE, &mut index));
            writes.push(view.writes().map_or(NONE, |value| index(Some(value))));
        }
        let mut debts =
            Debts { owed: vec![0; indexes.len()], writers: vec![0; indexes.len()], indexes, needs, writes };
        for call in 0..calls.len() {
            debts.reopen(call);
        }
        Some(debts)
    }

    fn index(&self, held: Option<Held>) -> Option<usize> {
        self.indexes.get(&held?).copied()
    }

    fn settle(&mut self, call: usize) {
        if let Some(owed) = self.owed.get_mut(self.needs[call]) {
            *owed -= 1;
        }
        if let Some(writers) = self.writers.get_mut(self.writes[call]) {
            *writers -= 1;
        }
    }

    fn reopen(&mut self, call: usize) {
        if let Some(owed) = self.owed.get_mut(self.needs[call]) {
            *owed += 1;
        }
        if let Some(writers) = self.writers.get_mut(self.writes[call]) {
            *writers += 1;
        }
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
        let searched = search(&Register::default(), &calls, budget, Reductions::All);
        assert!(matches!(searched.outcome, Outcome::OutOfBudget(_)), "{searched:?}");
    }
}
