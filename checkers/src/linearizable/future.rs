//! What the steps that were not invoked yet will ask of the register, and by when.
//!
//! A value is *due* at the first return among those steps that need it: by then it must have been held. It can be
//! brought back in time by a step that is open, or by one that is invoked no later than it is due. If nobody can,
//! whoever leaves the value leaves a debt that is never paid.

use super::dense::{Dense, INITIAL, NEVER};
use crate::model::Model;

/// Looked at in the order of invocations.
pub(super) struct Future {
    /// For each value how many steps may look at it.
    looks: Vec<u32>,
    /// For each value when it is due; [`NEVER`] if nobody surely needs it.
    due: Vec<u64>,
    /// For each value when the next step that writes it is invoked; [`NEVER`] if none is.
    next_write: Vec<u64>,
    /// For each step what these two will be for its values once it was invoked.
    then: Vec<(u64, u64)>,
}

impl Future {
    /// Before anything happened.
    pub(super) fn of<M: Model>(dense: &Dense<'_, M>) -> Future {
        let mut future = Future {
            looks: vec![0; dense.values],
            due: vec![NEVER; dense.values],
            next_write: vec![NEVER; dense.values],
            then: Vec::new(),
        };
        if dense.values == 0 {
            return future;
        }
        future.then = vec![(NEVER, NEVER); dense.steps.len()];
        for (index, step) in dense.steps.iter().enumerate().rev() {
            let then = &mut future.then[index];
            if let Some(value) = step.act.needs() {
                future.looks[value as usize] += 1;
                let due = &mut future.due[value as usize];
                then.0 = *due;
                // One that never returned has no time by which it surely happened.
                *due = step.returned.min(*due);
            }
            if let Some(value) = step.act.writes() {
                let next_write = &mut future.next_write[value as usize];
                then.1 = std::mem::replace(next_write, dense.invoked(index));
            }
        }
        future
    }

    /// The next step, in the order of invocations, is not of the future any more.
    pub(super) fn invoke<M: Model>(&mut self, dense: &Dense<'_, M>, step: usize) {
        let Some(&(due, next_write)) = self.then.get(step) else { return };
        let act = dense.steps[step].act;
        if let Some(value) = act.needs() {
            self.looks[value as usize] -= 1;
            self.due[value as usize] = due;
        }
        if let Some(value) = act.writes() {
            self.next_write[value as usize] = next_write;
        }
    }

    /// Whether somebody may look at the value.
    pub(super) fn looks_at(&self, value: u32) -> bool {
        self.looks[value as usize] > 0
    }

    /// Whether the value is due before anybody who is yet to be invoked can write it. At equal times both are
    /// concurrent, and the writer may be the first.
    pub(super) fn comes_too_late_for(&self, value: u32) -> bool {
        self.due[value as usize] < self.next_write[value as usize]
    }

    /// Whether some value is due that nobody can have written, neither at the beginning nor later.
    pub(super) fn is_hopeless(&self) -> bool {
        (0_u32..).zip(&self.due).any(|(value, _)| value != INITIAL && self.comes_too_late_for(value))
    }
}
