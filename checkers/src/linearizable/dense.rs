//! The calls of one object in the form the searches work on: sorted by invocation, with small numbers for
//! states and values.
//!
//! A register's state is the number of the value that it holds, so a step is a comparison and nothing is
//! hashed. The states of any other model are numbered as they are met.

use std::cell::RefCell;
use std::collections::HashMap;

use super::call::Call;
use super::hash::BuildMix;
use super::reductions::{Reduction, Reductions};
use crate::model::{Held, Model, RegisterView};

/// A call does this to the register; `Opaque` if only the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Read(u32),
    Differs(u32),
    Write(u32),
    Swap { from: u32, to: u32 },
    Opaque,
}

impl Act {
    pub(super) fn writes(self) -> Option<u32> {
        match self {
            Act::Write(value) | Act::Swap { to: value, .. } => Some(value),
            Act::Read(_) | Act::Differs(_) | Act::Opaque => None,
        }
    }

    pub(super) fn needs(self) -> Option<u32> {
        match self {
            Act::Read(value) | Act::Swap { from: value, .. } => Some(value),
            Act::Differs(_) | Act::Write(_) | Act::Opaque => None,
        }
    }
}

/// The return of what never returned.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) act: Act,
    /// The position among the calls.
    pub(super) position: u32,
    /// [`NEVER`] if it never returned.
    pub(super) returned: u64,
    pub(super) is_pure: bool,
}

impl Step {
    pub(super) fn never_returned(&self) -> bool {
        self.returned == NEVER
    }
}

/// The number of the initial state.
pub(super) const INITIAL: u32 = 0;

pub(super) struct Dense<'a, M: Model> {
    /// Those that matter, in the order of their invocations.
    pub(super) steps: Vec<Step>,
    /// Invocations (`2 * step`) and returns (`2 * step + 1`) in the order of time. At one time invocations come
    /// first, since equal stamps mean concurrent. What never returned has no return here.
    pub(super) events: Vec<u32>,
    /// How many values there are; 0 if the object is no register.
    pub(super) values: usize,
    /// Whether some call needs a value to be absent.
    pub(super) has_differs: bool,
    calls: &'a [Call<M>],
    states: RefCell<States<M>>,
}

impl<'a, M: Model> Dense<'a, M> {
    pub(super) fn new(initial: &M, calls: &'a [Call<M>], reductions: Reductions) -> Self {
        // One that never returned and changes nothing constrains nothing.
        let matters = |call: &Call<M>| call.returned.is_some() || !M::is_pure(&call.op, None);
        let mut kept: Vec<u32> = (0..u32::try_from(calls.len()).expect("calls are counted in 32 bits"))
            .filter(|&position| matters(&calls[position as usize]))
            .collect();
        kept.sort_by_key(|&position| calls[position as usize].invoked);
        let mut values = Values { ids: HashMap::default() };
        let held = initial.register_value();
        let mut is_register = held.is_some();
        values.id(held.flatten());
        let mut steps: Vec<Step> = kept
            .into_iter()
            .map(|position| {
                let call = &calls[position as usize];
                let act = values.act(M::register_view(&call.op, call.ret.as_ref()));
                is_register &= act != Act::Opaque;
                Step {
                    act,
                    position,
                    returned: call.returned.unwrap_or(NEVER),
                    is_pure: call.returned.is_some() && M::is_pure(&call.op, call.ret.as_ref()),
                }
            })
            .collect();
        if !is_register {
            steps.iter_mut().for_each(|step| step.act = Act::Opaque);
        }
        let has_differs = steps.iter().any(|step| matches!(step.act, Act::Differs(_)));
        let mut dense = Dense {
            events: Vec::new(),
            values: if is_register { values.ids.len() } else { 0 },
            has_differs,
            steps,
            calls,
            states: RefCell::new(States { ids: HashMap::new(), all: Vec::new() }),
        };
        dense.states.borrow_mut().intern(initial.clone());
        if reductions.has(Reduction::Unobservable) {
            dense.drop_unobservable(reductions);
        }
        dense.events = dense.in_time_order();
        dense
    }

    fn in_time_order(&self) -> Vec<u32> {
        let mut events: Vec<(u64, u32)> = Vec::with_capacity(2 * self.steps.len());
        for (index, step) in (0_u32..).zip(&self.steps) {
            // Twice the time leaves room for invocations before returns.
            let doubled = |time: u64| time.saturating_mul(2);
            events.push((doubled(self.calls[step.position as usize].invoked), 2 * index));
            if !step.never_returned() {
                events.push((doubled(step.returned).saturating_add(1), 2 * index + 1));
            }
        }
        events.sort_unstable();
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Leaves out what never returned and writes a value that nobody needs: no completed operation saw it, no
    /// swap expects it.
    ///
    /// Sound: take any order that holds it. Between it and the next write nothing looked at the register but
    /// swaps that never returned, and they may be left out with it. What it made possible is gone, so others may
    /// now be unseen: repeat. With a failed swap that did not tell what it saw the argument breaks, since the
    /// unseen value may be what made it fail; then nothing is left out.
    fn drop_unobservable(&mut self, reductions: Reductions) {
        if self.values == 0 || self.has_differs && !reductions.breaks(Reduction::Unobservable) {
            return;
        }
        let mut needed = vec![0_u32; self.values];
        for value in self.steps.iter().filter_map(|step| step.act.needs()) {
            needed[value as usize] += 1;
        }
        loop {
            let before = self.steps.len();
            let mut forgone = Vec::new();
            self.steps.retain(|step| {
                let unseen = |value: u32| needed[value as usize] == 0;
                let keep = !step.never_returned() || !step.act.writes().is_some_and(unseen);
                if !keep {
                    forgone.extend(step.act.needs());
                }
                keep
            });
            for value in forgone {
                needed[value as usize] -= 1;
            }
            if self.steps.len() == before {
                return;
            }
        }
    }

    /// The state after a step, if the object allows it in this one.
    pub(super) fn after(&self, state: u32, step: usize) -> Option<u32> {
        let Step { act, position, .. } = self.steps[step];
        match act {
            Act::Read(value) => (state == value).then_some(state),
            Act::Differs(value) => (state != value).then_some(state),
            Act::Write(value) => Some(value),
            Act::Swap { from, to } if state == from => Some(to),
            // One that never returned may have done nothing; that is the same as leaving it out.
            Act::Swap { .. } => None,
            Act::Opaque => self.states.borrow_mut().after(state, &self.calls[position as usize]),
        }
    }

    /// When a step was invoked.
    pub(super) fn invoked(&self, step: usize) -> u64 {
        self.calls[self.steps[step].position as usize].invoked
    }

    /// Bytes held for states, beyond those of the calls.
    pub(super) fn state_bytes(&self) -> u64 {
        (self.states.borrow().all.len() * (2 * size_of::<M>() + 32)) as u64
    }

    /// Positions among the calls.
    pub(super) fn positions(&self, steps: impl IntoIterator<Item = u32>) -> Vec<usize> {
        steps.into_iter().map(|step| self.steps[step as usize].position as usize).collect()
    }
}

struct Values {
    ids: HashMap<Held, u32, BuildMix>,
}

impl Values {
    fn id(&mut self, held: Held) -> u32 {
        let fresh = u32::try_from(self.ids.len()).expect("there are fewer values than calls in 32 bits");
        *self.ids.entry(held).or_insert(fresh)
    }

    fn act(&mut self, view: RegisterView) -> Act {
        match view {
            RegisterView::Read(held) => Act::Read(self.id(held)),
            RegisterView::Differs(held) => Act::Differs(self.id(held)),
            RegisterView::Write(value) => Act::Write(self.id(Some(value))),
            RegisterView::Clear => Act::Write(self.id(None)),
            RegisterView::Swap { from, to } => Act::Swap { from: self.id(Some(from)), to: self.id(Some(to)) },
            RegisterView::Opaque => Act::Opaque,
        }
    }
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

    fn after(&mut self, state: u32, call: &Call<M>) -> Option<u32> {
        let mut after = self.all[state as usize].clone();
        match &call.ret {
            Some(ret) if !after.is_valid_step(&call.op, ret) => return None,
            Some(_) => {}
            None => after.apply_unknown(&call.op),
        }
        Some(self.intern(after))
    }
}
