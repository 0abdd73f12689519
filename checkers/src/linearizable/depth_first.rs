//! Depth-first search for an order, after Wing and Gong, with Lowe's memo of configurations, over a doubly
//! linked list of invocations and returns in the manner of Porcupine. Strong on histories that have an order.
//!
//! It keeps its own stack, so no history is too long for it, and it can be left and taken up again. A
//! *configuration* is a state and the set of steps already ordered. A step is *enabled* if no step outside the
//! set returned before its invocation: exactly those before the first return in the list.

use std::collections::HashSet;

use super::dense::{Act, Dense, INITIAL};
use super::hash::{BuildMix, scatter};
use super::reductions::{Reduction, Reductions};
use crate::finding::Budget;
use crate::model::Model;

/// What an engine has found by the end of its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing yet.
    Searching,
    /// An order of steps.
    Found(Vec<u32>),
    /// There is none.
    Refuted,
    /// The budget ended.
    OutOfBudget,
}

/// The end of the list, and "no value".
const NONE: u32 = u32::MAX;

pub(super) struct DepthFirst<'d, 'a, M: Model> {
    dense: &'d Dense<'a, M>,
    budget: Budget,
    reductions: Reductions,
    /// The list: entry `2 * i` is the invocation of step `i`, `2 * i + 1` its return, the last one the head.
    next: Vec<u32>,
    prev: Vec<u32>,
    memo: Memo,
    debts: Option<Debts>,
    twins: Twins,
    /// The order so far.
    stack: Vec<Ordered>,
    longest: Vec<u32>,
    state: u32,
    /// Steps that returned and are not ordered yet.
    left: usize,
    /// Where the walk along the list is.
    entry: u32,
}

/// A step in the order, and how to take it back.
#[derive(Clone, Copy)]
struct Ordered {
    step: u32,
    state_before: u32,
    /// Ordered because it had to be, not as one choice among several.
    eager: bool,
}

impl<'d, 'a, M: Model> DepthFirst<'d, 'a, M> {
    pub(super) fn new(dense: &'d Dense<'a, M>, budget: Budget, reductions: Reductions) -> Self {
        let (next, prev) = link(dense);
        let mut search = DepthFirst {
            dense,
            budget,
            reductions,
            next,
            prev,
            memo: Memo::new(dense.steps.len(), reductions),
            debts: reductions.has(Reduction::LastWriter).then(|| Debts::of(dense, reductions)).flatten(),
            twins: Twins::of(dense, reductions),
            stack: Vec::new(),
            longest: Vec::new(),
            state: INITIAL,
            left: dense.steps.iter().filter(|step| !step.never_returned()).count(),
            entry: NONE,
        };
        search.order_pure_steps();
        search.entry = search.first();
        search
    }

    /// Searches on, over so many entries of the list.
    pub(super) fn run(&mut self, entries: u64) -> Progress {
        for _ in 0..entries {
            if self.left == 0 {
                return Progress::Found(self.order());
            }
            if self.memo.len() >= self.budget.configurations || self.bytes() > self.budget.bytes {
                self.remember_longest();
                return Progress::OutOfBudget;
            }
            if self.entry != NONE && self.entry.is_multiple_of(2) {
                if self.try_step(self.entry / 2) {
                    self.order_pure_steps();
                    self.entry = self.first();
                } else {
                    self.entry = self.next[self.entry as usize];
                }
            } else {
                // This step has returned, so nothing behind it may come first, and all before it was tried.
                self.remember_longest();
                match self.backtrack() {
                    Some(tried) => self.entry = self.next[2 * tried as usize],
                    None => return Progress::Refuted,
                }
            }
        }
        Progress::Searching
    }

    /// The configurations tried.
    pub(super) fn configurations(&self) -> u64 {
        self.memo.len()
    }

    /// The longest order that was found.
    pub(super) fn longest(&self) -> &[u32] {
        &self.longest
    }

    fn order(&self) -> Vec<u32> {
        self.stack.iter().map(|ordered| ordered.step).collect()
    }

    fn first(&self) -> u32 {
        self.next[2 * self.dense.steps.len()]
    }

    fn bytes(&self) -> u64 {
        self.memo.bytes() + self.dense.state_bytes()
    }

    /// Orders a step next if it is possible here and leads to a configuration that was not tried.
    fn try_step(&mut self, step: u32) -> bool {
        let index = step as usize;
        let dense = self.dense;
        let eager = self.reductions.has(Reduction::EagerPure);
        if eager && dense.steps[index].is_pure || !self.twins.is_oldest(index) {
            // A pure one was not possible here, or it would be in the order already.
            return false;
        }
        let Some(state) = dense.after(self.state, index) else { return false };
        // One that never returned and does nothing here is not needed here: leaving it out keeps every order
        // that follows, and it may still be used later.
        if dense.steps[index].never_returned() && state == self.state {
            return false;
        }
        if let Some(debts) = &self.debts
            && state != self.state
            && debts.would_stay(self.state, index)
        {
            return false;
        }
        if !self.memo.insert(step, state) {
            return false;
        }
        self.push(step, state, false);
        true
    }

    /// Orders every pure step that is enabled and possible, without trying anything else in its place.
    ///
    /// Sound: take any order that continues from here and move the step to its front. It is possible here, it
    /// changes no state, and nothing left has to precede it, since it is enabled.
    fn order_pure_steps(&mut self) {
        if !self.reductions.has(Reduction::EagerPure) {
            return;
        }
        let mut entry = self.first();
        while entry != NONE && entry.is_multiple_of(2) {
            let step = entry / 2;
            let mut following = self.next[entry as usize];
            let index = step as usize;
            let broken = self.reductions.breaks(Reduction::EagerPure);
            if (self.dense.steps[index].is_pure || broken && !self.dense.steps[index].never_returned())
                && let Some(state) = self.dense.after(self.state, index)
            {
                if following == entry + 1 {
                    following = self.next[following as usize];
                }
                self.push(step, state, true);
            }
            entry = following;
        }
    }

    fn push(&mut self, step: u32, state: u32, eager: bool) {
        for entry in [2 * step, 2 * step + 1] {
            let (before, after) = (self.prev[entry as usize], self.next[entry as usize]);
            self.next[before as usize] = after;
            if after != NONE {
                self.prev[after as usize] = before;
            }
        }
        self.memo.flip(step);
        let index = step as usize;
        self.left -= usize::from(!self.dense.steps[index].never_returned());
        self.twins.use_one(index);
        if let Some(debts) = &mut self.debts {
            debts.settle(index);
        }
        self.stack.push(Ordered { step, state_before: self.state, eager });
        self.state = state;
    }

    /// Takes back the last choice, and all that followed from it; returns what was chosen.
    fn backtrack(&mut self) -> Option<u32> {
        while let Some(Ordered { step, state_before, eager }) = self.stack.pop() {
            // In the opposite order of removal, so that each neighbour is in its place again.
            for entry in [2 * step + 1, 2 * step] {
                let (before, after) = (self.prev[entry as usize], self.next[entry as usize]);
                self.next[before as usize] = entry;
                if after != NONE {
                    self.prev[after as usize] = entry;
                }
            }
            self.memo.flip(step);
            let index = step as usize;
            self.left += usize::from(!self.dense.steps[index].never_returned());
            self.twins.give_back(index);
            if let Some(debts) = &mut self.debts {
                debts.reopen(index);
            }
            self.state = state_before;
            if !eager {
                return Some(step);
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

/// The list of invocations and returns in time order; returns of what never returned stand behind all others.
fn link<M: Model>(dense: &Dense<'_, M>) -> (Vec<u32>, Vec<u32>) {
    let head = u32::try_from(2 * dense.steps.len()).expect("entries are counted in 32 bits");
    let mut next = vec![NONE; head as usize + 1];
    let mut prev = vec![NONE; head as usize + 1];
    let never = (0_u32..).zip(&dense.steps).filter(|(_, step)| step.never_returned());
    let mut last = head;
    for entry in dense.events.iter().copied().chain(never.map(|(index, _)| 2 * index + 1)) {
        next[last as usize] = entry;
        prev[entry as usize] = last;
        last = entry;
    }
    (next, prev)
}

/// The configurations tried.
///
/// The short form is the XOR of a pseudo-random number for each step of the set and one for the state. Among k
/// configurations two are mistaken for one with a probability below k²/2¹²⁹, about 10⁻²⁵ at the default budget.
/// Such a mistake can only prune, so it can only turn valid into invalid, and whoever is told that there is no
/// order searches again, exactly.
enum Memo {
    Short { set: u128, tried: HashSet<u128, BuildMix>, ignore_state: bool },
    Exact { set: Vec<u64>, tried: HashSet<(Box<[u64]>, u32)> },
}

impl Memo {
    fn new(steps: usize, reductions: Reductions) -> Memo {
        if reductions.has(Reduction::ShortKeys) {
            let ignore_state = reductions.breaks(Reduction::ShortKeys);
            Memo::Short { set: 0, tried: HashSet::default(), ignore_state }
        } else {
            Memo::Exact { set: vec![0; steps.div_ceil(64)], tried: HashSet::new() }
        }
    }

    fn flip(&mut self, step: u32) {
        match self {
            Memo::Short { set, .. } => *set ^= scatter(u64::from(step) << 32),
            Memo::Exact { set, .. } => set[step as usize / 64] ^= 1 << (step % 64),
        }
    }

    /// Whether the set with this step, in this state, is new.
    fn insert(&mut self, step: u32, state: u32) -> bool {
        match self {
            Memo::Short { set, tried, ignore_state } => {
                let state = if *ignore_state { 0 } else { scatter(u64::from(state) << 32 | 1) };
                tried.insert(*set ^ scatter(u64::from(step) << 32) ^ state)
            }
            Memo::Exact { set, tried } => {
                let mut with = set.clone().into_boxed_slice();
                with[step as usize / 64] ^= 1 << (step % 64);
                tried.insert((with, state))
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Memo::Short { tried, .. } => tried.len() as u64,
            Memo::Exact { tried, .. } => tried.len() as u64,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Memo::Short { tried, .. } => tried.capacity() as u64 * 20,
            Memo::Exact { set, tried } => tried.len() as u64 * (set.len() as u64 * 8 + 64),
        }
    }
}

/// Steps that never returned and are alike in all but their invocations.
///
/// Only the oldest that is not ordered yet is tried. Sound: if an order uses a younger one here, the older one
/// can stand in its place, and the younger one where the older one stood, if it did; neither holds up anybody,
/// since neither ever returned. So 2ᵏ subsets become a number from 0 to k.
struct Twins {
    /// For each step that never returned its kind and its place among those of the kind.
    places: Vec<(u32, u32)>,
    used: Vec<u32>,
}

impl Twins {
    fn of<M: Model>(dense: &Dense<'_, M>, reductions: Reductions) -> Twins {
        if dense.values == 0 || !reductions.has(Reduction::Identical) {
            return Twins { places: Vec::new(), used: Vec::new() };
        }
        let mut kinds = std::collections::HashMap::new();
        let mut used = Vec::new();
        let mut counts: Vec<u32> = Vec::new();
        let places = dense.steps.iter().map(|step| {
            let written = step.act.writes().filter(|_| step.never_returned());
            let Some(written) = written else { return (NONE, 0) };
            let from = match step.act {
                Act::Swap { from, .. } => Some(from),
                _ => None,
            };
            let fresh = u32::try_from(counts.len()).expect("kinds are counted in 32 bits");
            let kind = *kinds.entry((from, written)).or_insert(fresh);
            if kind == fresh {
                counts.push(0);
                used.push(0);
            }
            let place = counts[kind as usize];
            counts[kind as usize] += 1;
            (kind, place)
        });
        Twins { places: places.collect(), used }
    }

    fn is_oldest(&self, step: usize) -> bool {
        self.place(step).is_none_or(|(kind, place)| self.used[kind] == place)
    }

    fn use_one(&mut self, step: usize) {
        if let Some((kind, _)) = self.place(step) {
            self.used[kind] += 1;
        }
    }

    fn give_back(&mut self, step: usize) {
        if let Some((kind, _)) = self.place(step) {
            self.used[kind] -= 1;
        }
    }

    fn place(&self, step: usize) -> Option<(usize, u32)> {
        let &(kind, place) = self.places.get(step)?;
        (kind != NONE).then_some((kind as usize, place))
    }
}

/// For each value of a register, how many steps that are not ordered yet need it and how many can write it.
struct Debts {
    owed: Vec<u32>,
    writers: Vec<u32>,
    /// For each step the value that it needs, and surely so since it returned, and the one that it can write.
    acts: Vec<(u32, u32)>,
}

impl Debts {
    fn of<M: Model>(dense: &Dense<'_, M>, reductions: Reductions) -> Option<Debts> {
        if dense.values == 0 {
            return None;
        }
        let broken = reductions.breaks(Reduction::LastWriter);
        let acts = dense.steps.iter().map(|step| {
            let need = step.act.needs().filter(|_| !step.never_returned());
            let write = step.act.writes().filter(|_| !(broken && step.never_returned()));
            (need.unwrap_or(NONE), write.unwrap_or(NONE))
        });
        let mut debts =
            Debts { owed: vec![0; dense.values], writers: vec![0; dense.values], acts: acts.collect() };
        for step in 0..dense.steps.len() {
            debts.reopen(step);
        }
        Some(debts)
    }

    /// Whether the step would overwrite a value that is still owed to somebody and can never come back.
    ///
    /// Sound: if a completed step that is not ordered yet needs the present value, and no step left can write
    /// it (those not yet invoked and those that never returned included), then after this step the value never
    /// returns and the debt is never paid.
    fn would_stay(&self, held: u32, step: usize) -> bool {
        let own = u32::from(self.acts[step].0 == held);
        self.owed[held as usize] > own && self.writers[held as usize] == 0
    }

    fn settle(&mut self, step: usize) {
        let (need, write) = self.acts[step];
        if let Some(owed) = self.owed.get_mut(need as usize) {
            *owed -= 1;
        }
        if let Some(writers) = self.writers.get_mut(write as usize) {
            *writers -= 1;
        }
    }

    fn reopen(&mut self, step: usize) {
        let (need, write) = self.acts[step];
        if let Some(owed) = self.owed.get_mut(need as usize) {
            *owed += 1;
        }
        if let Some(writers) = self.writers.get_mut(write as usize) {
            *writers += 1;
        }
    }
}
