//! Just-in-time configuration sets: the events in order, and after each all configurations that explain what
//! was returned so far. Strong on histories that have no order: memory is the window of open operations,
//! nothing is unwound, and the first return that no configuration survives is known.
//!
//! An invocation opens a step. At the return of a step every configuration is continued by open steps until it
//! holds the one that returned; those that cannot are dropped. Nothing here rests on a hash: what is said to
//! have no order has none.

use super::dense::{Act, Dense, INITIAL};
use super::depth_first::Progress;
use super::future::Future;
use super::layer::{Layer, Masks, head, state_of, trail_of};
use super::reductions::{Reduction, Reductions};
use crate::finding::Budget;
use crate::model::Model;

const NONE: u32 = u32::MAX;

/// Configurations that each whole [`LONG_STEPS`] steps may cost without being counted against the budget, so that a
/// long and easy history is not undecided for its length alone.
const FREE_CONFIGURATIONS: u64 = 2_048;
const LONG_STEPS: u64 = 64;

/// What continuing one configuration costs, in units of one event.
const EXPANSION_COST: u64 = 8;

pub(super) struct Sets<'d, 'a, M: Model> {
    dense: &'d Dense<'a, M>,
    budget: Budget,
    reductions: Reductions,
    /// The next event.
    event: usize,
    /// The step in each slot; a slot is a bit of a configuration.
    slots: Vec<u32>,
    free: Vec<u32>,
    slot_of: Vec<u32>,
    masks: Masks,
    /// Open steps that returned and are not pure.
    updates: Vec<u64>,
    /// Open pure steps.
    pure: Vec<u64>,
    /// Open steps that never returned, by what they do, the oldest first in each kind.
    lasting: Vec<(Act, Vec<u32>)>,
    future: Future,
    configurations: u64,
    current: Layer,
    /// Continued and without the step that returned.
    visited: Layer,
    /// With the step that returned.
    complete: Layer,
    /// Rows of `visited` that were not continued yet.
    stack: Vec<u32>,
    /// The slot of the step that returned, while configurations are continued.
    closing: Option<u32>,
    trails: Trails,
    longest: Vec<u32>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    row: Vec<u64>,
    next: Vec<u64>,
    candidates: Vec<u32>,
    junk: Vec<u32>,
    added: Vec<u32>,
}

fn has(row: &[u64], slot: u32) -> bool {
    row[slot as usize / 64 + 1] >> (slot % 64) & 1 == 1
}

fn add(row: &mut [u64], slot: u32) {
    row[slot as usize / 64 + 1] |= 1 << (slot % 64);
}

/// The slots in a mask that a row does not have.
fn missing<'r>(mask: &'r [u64], row: &'r [u64]) -> impl Iterator<Item = u32> + 'r {
    (0_u32..).zip(mask.iter().zip(&row[1..])).flat_map(|(word, (mask, row))| {
        let mut left = mask & !row;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(64 * word + bit)
        })
    })
}

impl<'d, 'a, M: Model> Sets<'d, 'a, M> {
    pub(super) fn new(dense: &'d Dense<'a, M>, budget: Budget, reductions: Reductions) -> Self {
        let mut current = Layer::default();
        current.clear(0);
        let masks = Masks { ignore_pure: reductions.breaks(Reduction::Antichain), ..Masks::default() };
        current.insert(&[head(INITIAL, NONE)], &masks);
        Sets {
            dense,
            budget,
            reductions,
            event: 0,
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: vec![NONE; dense.steps.len()],
            masks,
            updates: Vec::new(),
            pure: Vec::new(),
            lasting: Vec::new(),
            future: Future::of(dense),
            configurations: 0,
            current,
            visited: Layer::default(),
            complete: Layer::default(),
            stack: Vec::new(),
            closing: None,
            trails: Trails::default(),
            longest: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Searches on for about so many events' worth of work.
    pub(super) fn run(&mut self, mut work: u64) -> Progress {
        if self.event == 0 && self.reductions.has(Reduction::LastWriter) && self.future.is_hopeless() {
            return Progress::Refuted;
        }
        let allowance = self.dense.steps.len() as u64 / LONG_STEPS * FREE_CONFIGURATIONS;
        while work > 0 {
            if self.configurations > self.budget.configurations.saturating_add(allowance)
                || self.bytes() > self.budget.bytes
            {
                self.remember_longest();
                return Progress::OutOfBudget;
            }
            if let Some(slot) = self.closing {
                work = work.saturating_sub(EXPANSION_COST);
                if let Some(row) = self.stack.pop() {
                    if !self.visited.is_dead(row) {
                        self.continue_row(row, slot);
                    }
                } else if self.complete.alive() == 0 {
                    self.remember_longest();
                    return Progress::Refuted;
                } else {
                    self.closing = None;
                    std::mem::swap(&mut self.current, &mut self.complete);
                    self.end_return(slot);
                }
                continue;
            }
            work -= 1;
            let Some(&event) = self.dense.events.get(self.event) else {
                let row = self.current.iter().next().expect("a set without configurations ends the search");
                return Progress::Found(self.trails.order(trail_of(row)));
            };
            self.event += 1;
            if event.is_multiple_of(2) {
                self.invoke(event / 2);
            } else {
                self.begin_return(self.slot_of[event as usize / 2]);
            }
        }
        Progress::Searching
    }

    /// The configurations tried.
    pub(super) fn configurations(&self) -> u64 {
        self.configurations
    }

    /// An order that went far, for a reader.
    pub(super) fn longest(&self) -> &[u32] {
        &self.longest
    }

    /// The step whose return was looked at last.
    pub(super) fn last_return(&self) -> Option<u32> {
        self.dense.events[..self.event].iter().rev().find(|event| *event % 2 == 1).map(|event| event / 2)
    }

    fn bytes(&self) -> u64 {
        self.current.bytes()
            + self.visited.bytes()
            + self.complete.bytes()
            + self.trails.bytes()
            + self.dense.state_bytes()
            + (self.slot_of.len() * 4 + self.stack.capacity() * 4) as u64
    }

    fn remember_longest(&mut self) {
        let (visited, current) = (self.visited.iter().last(), self.current.iter().last());
        if let Some(row) = visited.or(current) {
            self.longest = self.trails.order(trail_of(row));
        }
    }

    fn is_eager(&self, step: usize) -> bool {
        self.reductions.has(Reduction::EagerPure) && self.dense.steps[step].is_pure
    }

    fn invoke(&mut self, step: u32) {
        let index = step as usize;
        self.future.invoke(self.dense, index);
        let slot = self.take_slot(step);
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        let antichain = self.reductions.has(Reduction::Antichain);
        if self.dense.steps[index].never_returned() {
            self.add_lasting(index, slot);
            if antichain {
                self.masks.lasting[word] |= bit;
            }
        } else if self.is_eager(index) {
            self.pure[word] |= bit;
            if antichain {
                self.masks.pure[word] |= bit;
            }
            // A pure step goes into a configuration as soon as it is possible there. Sound: take any order that
            // continues from there and move the step to its front. It changes no state, and nothing left has
            // to precede it.
            let (dense, trails) = (self.dense, &mut self.trails);
            for row in self.current.iter_mut() {
                if dense.after(state_of(row), index).is_some() {
                    add(row, slot);
                    row[0] = head(state_of(row), trails.push(trail_of(row), step));
                }
            }
        } else {
            self.updates[word] |= bit;
        }
        self.masks.key[word] |= bit & !(self.masks.pure[word] | self.masks.lasting[word]);
    }

    fn take_slot(&mut self, step: u32) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("steps are counted in 32 bits");
            self.slots.push(NONE);
            slot
        });
        let words = self.slots.len().div_ceil(64);
        if words > self.updates.len() {
            let masks = &mut self.masks;
            for mask in
                [&mut self.updates, &mut self.pure, &mut masks.key, &mut masks.pure, &mut masks.lasting]
            {
                mask.resize(words, 0);
            }
            self.current.widen(words);
        }
        self.slots[slot as usize] = step;
        self.slot_of[step as usize] = slot;
        slot
    }

    fn free_slot(&mut self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        let masks = &mut self.masks;
        for mask in [&mut self.updates, &mut self.pure, &mut masks.key, &mut masks.pure, &mut masks.lasting] {
            mask[word] &= !bit;
        }
        self.slot_of[self.slots[slot as usize] as usize] = NONE;
        self.slots[slot as usize] = NONE;
        self.free.push(slot);
    }

    fn add_lasting(&mut self, step: usize, slot: u32) {
        let act = self.dense.steps[step].act;
        let alike = self.reductions.has(Reduction::Identical) && act != Act::Opaque;
        match self.lasting.iter_mut().find(|(other, _)| alike && *other == act) {
            Some((_, slots)) => slots.push(slot),
            None => self.lasting.push((act, vec![slot])),
        }
    }

    fn begin_return(&mut self, slot: u32) {
        if self.current.iter().all(|row| has(row, slot)) {
            self.end_return(slot);
            return;
        }
        let words = self.updates.len();
        self.visited.clear(words);
        self.complete.clear(words);
        self.closing = Some(slot);
        for row in self.current.iter() {
            if has(row, slot) {
                self.complete.insert(row, &self.masks);
            } else if let Some(index) = self.visited.insert(row, &self.masks) {
                self.stack.push(index);
            }
        }
    }

    /// All configurations hold the step that returned; it is forgotten, and so is what never returned and was
    /// used by all.
    fn end_return(&mut self, slot: u32) {
        self.clear_slot(slot);
        if !self.lasting.is_empty() {
            let mut used_by_all = vec![u64::MAX; self.updates.len()];
            for row in self.current.iter() {
                for (all, word) in used_by_all.iter_mut().zip(&row[1..]) {
                    *all &= word;
                }
            }
            let mut forgotten = Vec::new();
            for (_, slots) in &mut self.lasting {
                let is_used = |slot: u32| used_by_all[slot as usize / 64] >> (slot % 64) & 1 == 1;
                forgotten.extend(slots.extract_if(.., |slot| is_used(*slot)));
            }
            self.lasting.retain(|(_, slots)| !slots.is_empty());
            for slot in forgotten {
                self.clear_slot(slot);
            }
        }
        self.trails.collect(&mut self.current);
    }

    fn clear_slot(&mut self, slot: u32) {
        for row in self.current.iter_mut() {
            row[slot as usize / 64 + 1] &= !(1 << (slot % 64));
        }
        self.free_slot(slot);
    }

    /// Continues a configuration by every open step that may come next.
    fn continue_row(&mut self, row: u32, target: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.row.clear();
        scratch.row.extend_from_slice(self.visited.row(row));
        let state = state_of(&scratch.row);
        scratch.candidates.clear();
        scratch.candidates.extend(missing(&self.updates, &scratch.row));
        scratch.junk.clear();
        if self.is_dead_end(state, &scratch) {
            scratch.candidates.retain(|&slot| self.dense.steps[self.slots[slot as usize] as usize].is_pure);
        } else {
            self.part_junk(&mut scratch);
            self.drop_identical(&mut scratch);
            if scratch.junk.contains(&target) {
                let last = scratch.junk.len() - 1;
                let junk = std::mem::take(&mut scratch.junk);
                self.try_row(&mut scratch, &junk[..last], junk[last], target);
                scratch.junk = junk;
            }
            self.add_lasting_candidates(state, &mut scratch);
        }
        let candidates = std::mem::take(&mut scratch.candidates);
        let junk = std::mem::take(&mut scratch.junk);
        for &slot in &candidates {
            // Only a plain write hides the junk before it.
            let first: &[u32] = if matches!(self.act(slot), Act::Write(_)) { &junk } else { &[] };
            self.try_row(&mut scratch, first, slot, target);
        }
        scratch.candidates = candidates;
        scratch.junk = junk;
        self.scratch = scratch;
    }

    /// The configuration in `scratch.row`, continued by `first` and then by `slot`.
    fn try_row(&mut self, scratch: &mut Scratch, first: &[u32], slot: u32, target: u32) {
        let step = |slot: u32| self.slots[slot as usize];
        let state = state_of(&scratch.row);
        let Some(after) = self.dense.after(state, step(slot) as usize) else { return };
        scratch.next.clone_from(&scratch.row);
        scratch.added.clear();
        for &slot in first.iter().chain([&slot]) {
            add(&mut scratch.next, slot);
            scratch.added.push(step(slot));
        }
        if after != state || !first.is_empty() {
            // Bits are collected first, since they are added to the row that is looked at.
            for word in 0..self.pure.len() {
                let mut left = self.pure[word] & !scratch.next[word + 1];
                while left != 0 {
                    let slot = 64 * u32::try_from(word).expect("slots are counted in 32 bits")
                        + left.trailing_zeros();
                    left &= left - 1;
                    if self.dense.after(after, step(slot) as usize).is_some() {
                        add(&mut scratch.next, slot);
                        scratch.added.push(step(slot));
                    }
                }
            }
        }
        scratch.next[0] = head(after, 0);
        let is_complete = has(&scratch.next, target);
        let layer = if is_complete { &mut self.complete } else { &mut self.visited };
        if let Some(index) = layer.insert(&scratch.next, &self.masks) {
            let before = trail_of(&scratch.row);
            let trail = scratch.added.iter().fold(before, |trail, &step| self.trails.push(trail, step));
            layer.set_trail(index, trail);
            self.configurations += 1;
            if !is_complete {
                self.stack.push(index);
            }
        }
    }

    fn act(&self, slot: u32) -> Act {
        self.dense.steps[self.slots[slot as usize] as usize].act
    }

    /// Whether the value held is due to somebody who was not invoked yet and nobody is left to write it again by
    /// then, so that only pure steps lead anywhere.
    ///
    /// Sound: were it left, the value would not return in time and the debt never be paid.
    fn is_dead_end(&self, state: u32, scratch: &Scratch) -> bool {
        if self.dense.values == 0
            || !self.reductions.has(Reduction::LastWriter)
            || !self.future.comes_too_late_for(state)
        {
            return false;
        }
        let writes = |slot: u32| self.act(slot).writes() == Some(state);
        let lasting = self.lasting.iter().flat_map(|(_, slots)| slots);
        let broken = self.reductions.breaks(Reduction::LastWriter);
        !scratch.candidates.iter().any(|&slot| writes(slot))
            && (broken || !lasting.into_iter().any(|&slot| !has(&scratch.row, slot) && writes(slot)))
    }

    /// Moves the junk from the candidates: completed plain writes of values that nobody looks at any more, now
    /// or later, not even a swap that never returned. All open junk is ordered at once, right before the next
    /// plain write, or as the last step if it is what returns.
    ///
    /// Sound: take an order and move each junk write forward to just before the next plain write. Nothing
    /// between looks at its value, and that write hides it. A failed swap that does not tell what it saw looks
    /// at every value, so with one of them anywhere nothing is junk.
    fn part_junk(&self, scratch: &mut Scratch) {
        if self.dense.values == 0 || self.dense.has_differs || !self.reductions.has(Reduction::Junk) {
            return;
        }
        let Scratch { row, candidates, junk, .. } = scratch;
        let broken = self.reductions.breaks(Reduction::Junk);
        let looked_at = |value: u32| {
            let looks = |slot: u32| self.act(slot).needs() == Some(value);
            self.future.looks_at(value)
                || missing(&self.pure, row).any(looks)
                || missing(&self.updates, row).any(looks)
                || !broken && self.lasting.iter().any(|(act, _)| act.needs() == Some(value))
        };
        let is_junk = |slot: u32| matches!(self.act(slot), Act::Write(value) if !looked_at(value));
        junk.extend(candidates.iter().copied().filter(|&slot| is_junk(slot)));
        if !junk.is_empty() {
            candidates.retain(|slot| !junk.contains(slot));
        }
    }

    /// Of completed candidates that do the same keeps the one that returns first.
    ///
    /// Sound: let a return no later than b, and let an order use b now and a later. Exchange them: the effects
    /// are the same. Nothing is in the way of b: whoever began after b had returned also began after a had,
    /// and so stands behind both places.
    fn drop_identical(&self, scratch: &mut Scratch) {
        if self.dense.values == 0 || !self.reductions.has(Reduction::Identical) {
            return;
        }
        let returned = |slot: u32| self.dense.steps[self.slots[slot as usize] as usize].returned;
        let broken = self.reductions.breaks(Reduction::Identical);
        let candidates = &mut scratch.candidates;
        let mut kept = 0;
        for index in 0..candidates.len() {
            let slot = candidates[index];
            match (0..kept).find(|&other| self.act(candidates[other]) == self.act(slot)) {
                Some(other) if (returned(slot) < returned(candidates[other])) != broken => {
                    candidates[other] = slot;
                }
                Some(_) => {}
                None => {
                    candidates[kept] = slot;
                    kept += 1;
                }
            }
        }
        candidates.truncate(kept);
    }

    /// Adds of each kind of step that never returned the oldest that is left, if it does anything here. The
    /// argument is that of [`Self::drop_identical`], with a return at the end of time: so a completed candidate
    /// that does the same goes first, too.
    fn add_lasting_candidates(&self, state: u32, scratch: &mut Scratch) {
        let alike = self.reductions.has(Reduction::Identical) && self.dense.values > 0;
        let completed = scratch.candidates.len();
        for (act, slots) in &self.lasting {
            let is_idle = match *act {
                Act::Swap { from, to } => from != state || to == state,
                // With junk before it, it brings the value back after the junk is out of the way.
                Act::Write(value) => value == state && scratch.junk.is_empty(),
                Act::Read(_) | Act::Differs(_) | Act::Opaque => false,
            };
            if is_idle || alike && scratch.candidates[..completed].iter().any(|&slot| self.act(slot) == *act)
            {
                continue;
            }
            scratch.candidates.extend(slots.iter().find(|&&slot| !has(&scratch.row, slot)));
        }
    }
}

/// The orders of all configurations, as a tree that grows towards its leaves: each node is a step and the node
/// before it. Configurations share nearly all of their past, so it takes little more than the history.
#[derive(Default)]
struct Trails {
    nodes: Vec<(u32, u32)>,
    /// Nodes at which the next collection of what no configuration needs is worth its cost.
    collect_at: usize,
}

/// Below this size nothing is collected.
const TRAILS_MIN: usize = 1 << 16;

impl Trails {
    fn push(&mut self, before: u32, step: u32) -> u32 {
        let node = u32::try_from(self.nodes.len()).expect("the budget ends a search before 2³² nodes");
        self.nodes.push((step, before));
        node
    }

    fn order(&self, mut trail: u32) -> Vec<u32> {
        let mut order = Vec::new();
        while trail != NONE {
            let (step, before) = self.nodes[trail as usize];
            order.push(step);
            trail = before;
        }
        order.reverse();
        order
    }

    fn bytes(&self) -> u64 {
        self.nodes.capacity() as u64 * 8
    }

    /// Drops the nodes that no configuration's order passes through.
    fn collect(&mut self, configurations: &mut Layer) {
        if self.nodes.len() < self.collect_at.max(TRAILS_MIN) {
            return;
        }
        let mut moved = vec![NONE; self.nodes.len()];
        for row in configurations.iter() {
            let mut trail = trail_of(row);
            while trail != NONE && moved[trail as usize] == NONE {
                moved[trail as usize] = 0;
                trail = self.nodes[trail as usize].1;
            }
        }
        let mut kept: u32 = 0;
        for node in 0..self.nodes.len() {
            if moved[node] == NONE {
                continue;
            }
            moved[node] = kept;
            let (step, before) = self.nodes[node];
            let before = if before == NONE { NONE } else { moved[before as usize] };
            self.nodes[kept as usize] = (step, before);
            kept += 1;
        }
        self.nodes.truncate(kept as usize);
        for row in configurations.iter_mut() {
            if trail_of(row) != NONE {
                row[0] = head(state_of(row), moved[trail_of(row) as usize]);
            }
        }
        self.collect_at = 2 * self.nodes.len();
    }
}
