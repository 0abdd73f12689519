//! The fast path: a register whose values are each written once, in O(n log n), exact where it answers. Of values
//! that repeat it leaves to the search whatever [`overwritten`](super::overwritten) does not refute.
//!
//! All that has to do with a value (its writer and those who read it) is a *stage*. A compare-and-set from a to
//! b puts stage b right behind stage a, so stages joined by swaps form a *block* that is contiguous in every
//! order. Let f be the first return in a block and g its last invocation. If f(A) < g(B), some operation of A
//! returned before one of B began, and all of A comes before all of B. The history is linearizable if and only
//! if
//!
//! 1. every value read was written, and its writer began before the read returned,
//! 2. no value has two successors, and every chain of swaps starts at a plain write or at the beginning,
//! 3. within a block no stage has a return before an invocation of an earlier stage,
//! 4. no two blocks have both f(A) < g(B) and f(B) < g(A).
//!
//! That is Gibbons and Korach's condition (1997), lifted from stages to blocks. Each is plainly necessary. They
//! suffice: were there a longer cycle of blocks, take its block M of greatest g, its successor N and N's
//! successor P. Then f(N) < g(P) ≤ g(M), so M and N contradict each other already.
//!
//! An operation that never returned has no f. If its value was seen it took place, and so did the swaps and
//! writes that it rests on; if not, it is left out, which changes nothing for those that remain.
//!
//! A compare-and-set that failed without saying on what ([`RegisterView::Differs`]) is refuted if it lies
//! within the time in which its value surely stood, and otherwise inserted where the order has room. There may
//! be room in another order; then this path does not answer.

use std::collections::HashMap;

use super::call::{Call, replay};
use super::hash::BuildNear;
use super::overwritten::overwritten;
use crate::model::{Held, Model, RegisterView};

/// What the zones say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zones {
    /// This order, as positions in the calls given, was replayed against the model.
    Linearizable(Vec<usize>),
    /// There is none, and the calls at these positions suffice to prove it.
    NotLinearizable(Vec<usize>),
    /// There is none. Of the calls at these positions the last one needs a value that the one before it overwrote for
    /// certain, or, if it is alone, that nobody had written. What led there is left out, and no more can be.
    Overwritten(Vec<usize>),
    /// Values repeat, or the object is no register, or failed swaps do not tell what they saw.
    NotApplicable,
}

/// Judges the calls of a register whose values are unique; where they repeat, says only what [`overwritten`] refutes.
pub fn zones<M: Model>(initial: &M, calls: &[Call<M>]) -> Zones {
    let Some(held) = initial.register_value() else { return Zones::NotApplicable };
    let mut blocks = Blocks::new(held, calls);
    if blocks.read(u64::MAX).is_none() {
        return overwritten(held, calls).map_or(Zones::NotApplicable, Zones::Overwritten);
    }
    match blocks.judge() {
        Ok(zones) => {
            let order = blocks.order(&zones);
            if replay(initial, calls, &order) {
                Zones::Linearizable(order)
            } else {
                // The slots of failed swaps got into each other's way.
                Zones::NotApplicable
            }
        }
        Err(core) => Zones::NotLinearizable(earliest(&mut blocks, core)),
    }
}

/// How often a core is replaced by an earlier one. Each time the history that is left is a random part of the
/// one before, so few are needed; a bound keeps the worst case in O(n log n).
const EARLIER_MAX: usize = 24;

/// Of the contradictions in a history one that was complete early, since later ones often follow from it.
fn earliest<M: Model>(blocks: &mut Blocks<'_, M>, mut core: Vec<usize>) -> Vec<usize> {
    for _ in 0..EARLIER_MAX {
        let last = core.iter().filter_map(|&position| blocks.calls[position].returned).max();
        let Some(end) = last.and_then(|last| last.checked_sub(1)) else { break };
        if blocks.read(end).is_none() {
            break;
        }
        match blocks.judge() {
            Err(earlier) => core = earlier,
            Ok(_) => break,
        }
    }
    core
}

const NONE: u32 = u32::MAX;
/// The stage of the value at the beginning.
const INITIAL: u32 = 0;
/// Before every invocation.
const BEGINNING: u64 = 0;
/// After every return.
const NEVER: u64 = u64::MAX;

struct Stage {
    /// [`NONE`] for the value at the beginning, and as long as only readers of the value are known.
    writer: u32,
    returned_first: u32,
    invoked_last: u32,
    /// The stage that is swapped from this one.
    next: u32,
    prev: u32,
    /// The stage that the writer swapped from, if it is a swap.
    from: u32,
    writer_invoked: u64,
    first_return: u64,
    last_invocation: u64,
}

impl Stage {
    const EMPTY: Stage = Stage {
        writer: NONE,
        returned_first: NONE,
        invoked_last: NONE,
        next: NONE,
        prev: NONE,
        from: NONE,
        writer_invoked: BEGINNING,
        first_return: NEVER,
        last_invocation: BEGINNING,
    };

    /// Whether it surely took place: somebody returned from it, or from a stage that rests on it.
    fn took_place(&self) -> bool {
        self.first_return != NEVER || self.next != NONE
    }

    fn returned(&mut self, at: u64, position: u32) {
        if at < self.first_return {
            self.first_return = at;
            self.returned_first = position;
        }
    }

    fn invoked(&mut self, at: u64, position: u32) {
        if at > self.last_invocation {
            self.last_invocation = at;
            self.invoked_last = position;
        }
    }
}

struct Blocks<'a, M: Model> {
    held: Held,
    calls: &'a [Call<M>],
    stages: Vec<Stage>,
    stage_of: HashMap<u64, u32, BuildNear>,
    /// Reads and failed swaps that told the value: the stage and the position.
    reads: Vec<(u32, u32)>,
    /// Failed swaps that did not.
    refusals: Vec<(Held, u32)>,
    /// Reads of a register that was never written, where it holds a value from the beginning on.
    reads_of_nothing: Vec<u32>,
}

struct Zone {
    first_return: u64,
    last_invocation: u64,
    root: u32,
}

impl Zone {
    fn start(&self) -> (u64, bool) {
        (self.first_return.min(self.last_invocation), self.is_forward())
    }

    fn is_forward(&self) -> bool {
        self.first_return < self.last_invocation
    }
}

/// Times are shifted by one, so that the beginning comes before all of them.
fn at(time: u64) -> u64 {
    time.saturating_add(1).min(NEVER - 1)
}

impl<'a, M: Model> Blocks<'a, M> {
    /// Room for the calls; they are yet to be read.
    fn new(held: Held, calls: &'a [Call<M>]) -> Self {
        // Mostly half of them write. A little more than half must not make every table grow to twice its size.
        let half = calls.len() / 2 + calls.len() / 16 + 1;
        Blocks {
            held,
            calls,
            stages: Vec::with_capacity(half),
            stage_of: HashMap::with_capacity_and_hasher(half, BuildNear),
            reads: Vec::with_capacity(half),
            refusals: Vec::new(),
            reads_of_nothing: Vec::new(),
        }
    }

    /// Reads the stages of all that happened until `end`; `None` if some value has two writers.
    ///
    /// What had not returned by then counts as never returned: linearizability is closed under prefixes.
    fn read(&mut self, end: u64) -> Option<()> {
        self.stages.clear();
        self.stage_of.clear();
        self.reads.clear();
        self.refusals.clear();
        self.reads_of_nothing.clear();
        self.stages.push(Stage { first_return: BEGINNING, ..Stage::EMPTY });
        if let Some(value) = self.held {
            self.stage_of.insert(value, INITIAL);
        }
        for (position, call) in self.calls.iter().enumerate() {
            if call.invoked > end {
                continue;
            }
            let returned = call.returned.filter(|&returned| returned <= end);
            let ret = if returned.is_some() { call.ret.as_ref() } else { None };
            if returned.is_none() && M::is_pure(&call.op, None) {
                continue;
            }
            let position = u32::try_from(position).ok().filter(|&position| position < NONE)?;
            let (value, from) = match M::register_view(&call.op, ret) {
                RegisterView::Read(held) => {
                    let stage = match held {
                        Some(value) => self.stage_to_be(value)?,
                        None if self.held.is_none() => INITIAL,
                        None => {
                            self.reads_of_nothing.push(position);
                            continue;
                        }
                    };
                    self.reads.push((stage, position));
                    let stage = &mut self.stages[stage as usize];
                    stage.returned(at(returned.expect("a read that never returned was left out")), position);
                    stage.invoked(at(call.invoked), position);
                    continue;
                }
                RegisterView::Differs(value) => {
                    self.refusals.push((value, position));
                    continue;
                }
                RegisterView::Write(value) => (value, NONE),
                RegisterView::Swap { from, to } if from != to => (to, self.stage_to_be(from)?),
                RegisterView::Swap { .. } | RegisterView::Clear | RegisterView::Opaque => return None,
            };
            let stage = self.stage_to_be(value)?;
            let is_initial = stage == INITIAL;
            let stage = &mut self.stages[stage as usize];
            if is_initial || stage.writer != NONE {
                return None;
            }
            stage.writer = position;
            stage.from = from;
            stage.writer_invoked = at(call.invoked);
            stage.invoked(at(call.invoked), position);
            if let Some(returned) = returned {
                stage.returned(at(returned), position);
            }
        }
        Some(())
    }

    /// The stage of a value that was written or, as those who have to do with it come in any order, may turn out to
    /// have been.
    fn stage_to_be(&mut self, value: u64) -> Option<u32> {
        let fresh = u32::try_from(self.stages.len()).ok()?;
        let stage = *self.stage_of.entry(value).or_insert(fresh);
        if stage == fresh {
            self.stages.push(Stage::EMPTY);
        }
        Some(stage)
    }

    fn stage_of(&self, held: Held) -> Option<u32> {
        match held {
            Some(value) => self.stage_of.get(&value).copied(),
            None => self.held.is_none().then_some(INITIAL),
        }
    }

    /// The blocks by their starts, or the positions of calls that contradict each other.
    fn judge(&mut self) -> Result<Vec<Zone>, Vec<usize>> {
        if let Some(&position) = self.reads_of_nothing.first() {
            return Err(vec![position as usize]);
        }
        for stage in &self.stages[1..] {
            if stage.writer == NONE && stage.returned_first != NONE {
                return Err(vec![stage.returned_first as usize]);
            }
            if stage.first_return < stage.writer_invoked {
                return Err(self.core(&[stage.returned_first, stage.writer], &[]));
            }
        }
        self.link_swaps()?;
        let mut zones = self.zones()?;
        zones.sort_unstable_by_key(Zone::start);
        self.compare(&zones)?;
        self.refute_refusals()?;
        Ok(zones)
    }

    /// Joins each stage that took place to the one it was swapped from, which then took place too.
    fn link_swaps(&mut self) -> Result<(), Vec<usize>> {
        for first in 1..self.stages.len() {
            let mut current = u32::try_from(first).expect("stages are counted in 32 bits");
            loop {
                let stage = &self.stages[current as usize];
                let source = stage.from;
                if source == NONE || stage.prev != NONE || !stage.took_place() {
                    break;
                }
                let before = &mut self.stages[source as usize];
                if before.writer == NONE && source != INITIAL {
                    return Err(self.core(&[], &[current]));
                }
                if before.next != NONE {
                    let rival = before.next;
                    return Err(self.core(&[], &[rival, current]));
                }
                before.next = current;
                self.stages[current as usize].prev = source;
                current = source;
            }
        }
        Ok(())
    }

    /// The zone of each block, if the stages within it agree with real time.
    fn zones(&self) -> Result<Vec<Zone>, Vec<usize>> {
        let mut zones = Vec::with_capacity(self.stages.len());
        let mut reached = 0;
        let is_root = |stage: &Stage| stage.took_place() && stage.from == NONE;
        for (root, _) in self.stages.iter().enumerate().filter(|(_, stage)| is_root(stage)) {
            let root = u32::try_from(root).expect("stages are counted in 32 bits");
            let mut zone = Zone { first_return: NEVER, last_invocation: BEGINNING, root };
            let mut latest = root;
            let mut current = root;
            while current != NONE {
                let stage = &self.stages[current as usize];
                reached += 1;
                if stage.first_return < zone.last_invocation {
                    let invoked_last = self.stages[latest as usize].invoked_last;
                    return Err(self.core(&[stage.returned_first, invoked_last], &[current]));
                }
                zone.first_return = zone.first_return.min(stage.first_return);
                if stage.last_invocation > zone.last_invocation {
                    zone.last_invocation = stage.last_invocation;
                    latest = current;
                }
                current = stage.next;
            }
            zones.push(zone);
        }
        let took_place = self.stages.iter().filter(|stage| stage.took_place()).count();
        if reached == took_place { Ok(zones) } else { Err(self.cycle()) }
    }

    /// Swaps that go round in a circle: each value rests on the others, and nobody began.
    fn cycle(&self) -> Vec<usize> {
        let mut in_chain = vec![false; self.stages.len()];
        for (root, stage) in self.stages.iter().enumerate() {
            let mut current = if stage.took_place() && stage.from == NONE { root } else { NONE as usize };
            while current < self.stages.len() {
                in_chain[current] = true;
                current = self.stages[current].next as usize;
            }
        }
        let lost =
            self.stages.iter().zip(in_chain).position(|(stage, in_chain)| stage.took_place() && !in_chain);
        let lost = lost.expect("fewer stages were reached than took place");
        self.core(&[], &[u32::try_from(lost).expect("stages are counted in 32 bits")])
    }

    /// Looks for two zones that must each come before the other. They must be sorted by their starts.
    ///
    /// Two forward zones contradict each other if they overlap, and a backward one contradicts a forward one
    /// that it lies within. So of the forward zones only the one that reaches farthest matters: those before
    /// it ended before it began, or a contradiction was found.
    fn compare(&self, zones: &[Zone]) -> Result<(), Vec<usize>> {
        let mut forward: Option<&Zone> = None;
        for zone in zones {
            if let Some(before) = forward
                && before.first_return < zone.last_invocation
                && zone.first_return < before.last_invocation
            {
                return Err(self.contradiction(before, zone));
            }
            if zone.is_forward() && forward.is_none_or(|f| f.last_invocation < zone.last_invocation) {
                forward = Some(zone);
            }
        }
        Ok(())
    }

    fn contradiction(&self, a: &Zone, b: &Zone) -> Vec<usize> {
        let mut ends = Vec::new();
        for zone in [a, b] {
            let mut current = zone.root;
            let (mut found_first, mut found_last) = (false, false);
            while current != NONE {
                let stage = &self.stages[current as usize];
                if !found_first && stage.first_return == zone.first_return {
                    found_first = true;
                    ends.push(stage.returned_first);
                }
                if !found_last && stage.last_invocation == zone.last_invocation {
                    found_last = true;
                    ends.push(stage.invoked_last);
                }
                current = stage.next;
            }
        }
        self.core(&ends, &[])
    }

    /// The calls given and the stages given, with all that they rest on: the writers of the values and the
    /// swaps back to the beginning of their chains, and for a writer that never returned somebody who saw it.
    fn core(&self, calls: &[u32], stages: &[u32]) -> Vec<usize> {
        let mut core: Vec<u32> = calls.iter().copied().filter(|&call| call != NONE).collect();
        let mut needed: Vec<u32> = stages.to_vec();
        for &call in &core {
            needed.extend(self.stage_of_call(call));
        }
        let mut done = vec![false; self.stages.len()];
        for stage in needed {
            // Whoever saw it, directly or through swaps that follow.
            let mut witness = stage;
            while witness != NONE && self.stages[witness as usize].returned_first == NONE {
                witness = self.stages[witness as usize].next;
            }
            let mut current = if witness == NONE { stage } else { witness };
            if witness != NONE && self.stages[stage as usize].first_return == NEVER {
                core.push(self.stages[witness as usize].returned_first);
            }
            let writer_returned = |stage: &Stage| stage.writer == stage.returned_first;
            if !writer_returned(&self.stages[current as usize]) {
                core.push(self.stages[current as usize].returned_first);
            }
            while !std::mem::replace(&mut done[current as usize], true) {
                let Stage { writer, from, .. } = self.stages[current as usize];
                core.push(writer);
                if from == NONE {
                    break;
                }
                current = from;
            }
        }
        core.retain(|&call| call != NONE);
        core.sort_unstable();
        core.dedup();
        core.into_iter().map(|position| position as usize).collect()
    }

    fn stage_of_call(&self, position: u32) -> Option<u32> {
        let call = &self.calls[position as usize];
        let view = M::register_view(&call.op, call.ret.as_ref());
        let held = match view {
            RegisterView::Read(held) | RegisterView::Differs(held) => held,
            _ => view.writes(),
        };
        self.stage_of(held)
    }

    /// A swap that failed on its own value: it began after the value was known to stand and ended before the
    /// value was last needed.
    fn refute_refusals(&self) -> Result<(), Vec<usize>> {
        for &(held, position) in &self.refusals {
            let Some(stage) = self.stage_of(held) else { continue };
            let stage = &self.stages[stage as usize];
            let call = &self.calls[position as usize];
            let returned = call.returned.map_or(NEVER, at);
            if stage.took_place() && stage.first_return < at(call.invoked) && returned < stage.last_invocation
            {
                return Err(self.core(&[position, stage.returned_first, stage.invoked_last], &[]));
            }
        }
        Ok(())
    }

    /// The blocks by their starts, in each the stages, in each the writer and then the reads as they began.
    ///
    /// If f(A) < g(B) and not f(B) < g(A), then A sorts before B. If B starts with g(B), A starts at f(A) or
    /// before, which is earlier. If it starts with f(B), A starts at g(A) or before, which is not later, and
    /// on a tie A is the backward one.
    fn order(&self, zones: &[Zone]) -> Vec<usize> {
        let mut reads = self.reads.clone();
        reads.sort_unstable_by_key(|&(stage, position)| {
            (stage, self.calls[position as usize].invoked, position)
        });
        let mut starts = vec![0_u32; self.stages.len() + 1];
        for &(stage, _) in &reads {
            starts[stage as usize + 1] += 1;
        }
        for stage in 0..self.stages.len() {
            starts[stage + 1] += starts[stage];
        }
        let mut order = Vec::with_capacity(self.calls.len());
        // For each stage the places behind its writer, up to the writer of the next stage.
        let mut places = vec![(0, 0); if self.refusals.is_empty() { 0 } else { self.stages.len() }];
        for zone in zones {
            let mut current = zone.root;
            while current != NONE {
                let stage = &self.stages[current as usize];
                if stage.writer != NONE {
                    order.push(stage.writer as usize);
                }
                let start = if stage.writer == NONE { 0 } else { order.len() };
                let (from, to) = (starts[current as usize] as usize, starts[current as usize + 1] as usize);
                order.extend(reads[from..to].iter().map(|&(_, position)| position as usize));
                if let Some(place) = places.get_mut(current as usize) {
                    *place = (start, order.len());
                }
                current = stage.next;
            }
        }
        if self.refusals.is_empty() { order } else { self.insert_refusals(&order, &places) }
    }

    /// Puts each failed swap at the first place that real time allows and at which its value does not stand.
    /// Whether they agree among themselves is for the replay to say.
    fn insert_refusals(&self, order: &[usize], places: &[(usize, usize)]) -> Vec<usize> {
        // `first_returns[i]` is the least return from place i on: a call goes behind all that returned before it.
        let mut first_returns = vec![NEVER; order.len() + 1];
        for (place, &position) in order.iter().enumerate().rev() {
            let returned = self.calls[position].returned.unwrap_or(NEVER);
            first_returns[place] = first_returns[place + 1].min(returned);
        }
        let mut inserted: Vec<(usize, u64, usize)> = Vec::with_capacity(self.refusals.len());
        for &(held, position) in &self.refusals {
            let call = &self.calls[position as usize];
            let earliest = first_returns.partition_point(|&returned| returned < call.invoked);
            let place = match self.stage_of(held) {
                Some(stage) if self.stages[stage as usize].took_place() => {
                    let (start, end) = places[stage as usize];
                    if (start..=end).contains(&earliest) { end + 1 } else { earliest }
                }
                _ => earliest,
            };
            inserted.push((place.min(order.len()), call.invoked, position as usize));
        }
        inserted.sort_unstable();
        let mut upcoming = inserted.into_iter().peekable();
        let mut all = Vec::with_capacity(order.len() + self.refusals.len());
        for place in 0..=order.len() {
            while let Some((_, _, position)) = upcoming.next_if(|&(at, _, _)| at == place) {
                all.push(position);
            }
            all.extend(order.get(place));
        }
        all
    }
}
