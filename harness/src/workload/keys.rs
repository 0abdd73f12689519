//! Keys that take turns.
//!
//! Keys are independent, and each is used for a bounded number of operations, because judging an object costs more the
//! more operations overlap on it, and because an object may get stuck (a lock whose owner is unknown). A few keys are in
//! use at any time; a used-up key makes place for a new one.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// The keys of a run, with something to remember about each of those in use.
pub(super) struct Keys<S> {
    prefix: &'static str,
    in_use_max: usize,
    operations_max: u32,
    in_use: Vec<Key<S>>,
    made: u32,
}

/// One key in use.
pub(super) struct Key<S> {
    pub(super) name: String,
    pub(super) state: S,
    operations: u32,
}

impl<S: Default> Keys<S> {
    /// Keys `x1`, `x2`, … of which so many are in use at a time, for so many operations each.
    pub(super) fn new(prefix: &'static str, in_use_max: usize, operations_max: u32) -> Self {
        Self { prefix, in_use_max, operations_max, in_use: Vec::new(), made: 0 }
    }

    /// A key in use, for one operation more.
    pub(super) fn draw(&mut self, rng: &mut Pcg64Mcg) -> &mut Key<S> {
        let slot = rng.random_range(0..self.in_use_max);
        while self.in_use.len() < self.in_use_max {
            let key = self.fresh();
            self.in_use.push(key);
        }
        if self.in_use[slot].operations == self.operations_max {
            self.in_use[slot] = self.fresh();
        }
        let key = &mut self.in_use[slot];
        key.operations += 1;
        key
    }

    /// What is remembered about a key, if it is still in use.
    pub(super) fn state(&mut self, name: &str) -> Option<&mut S> {
        self.in_use.iter_mut().find(|key| key.name == name).map(|key| &mut key.state)
    }

    /// Every key that was ever drawn.
    pub(super) fn used(&self) -> Vec<String> {
        let is_untouched =
            |name: &String| self.in_use.iter().any(|key| key.name == *name && key.operations == 0);
        let names = (1..=self.made).map(|number| format!("{}{number}", self.prefix));
        names.filter(|name| !is_untouched(name)).collect()
    }

    fn fresh(&mut self) -> Key<S> {
        self.made += 1;
        Key { name: format!("{}{}", self.prefix, self.made), state: S::default(), operations: 0 }
    }
}
