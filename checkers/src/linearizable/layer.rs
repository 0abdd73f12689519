//! A set of configurations of which none stands for another.
//!
//! A configuration is a row of words: state and trail, then a bit for each open step that it has ordered. Rows
//! lie one behind the other in one vector; small sets are scanned, larger ones have an index by hash.

use std::hash::Hasher;

use super::hash::Mix;

/// Which bits of a row play which part in comparing it with another.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks {
    /// Rows are compared only if they agree here.
    pub(super) key: Vec<u64>,
    /// More of these is better: pure steps that are done with.
    pub(super) pure: Vec<u64>,
    /// Fewer of these is better: steps that never returned and may still be used.
    pub(super) lasting: Vec<u64>,
    /// Forgets to compare the pure ones, to see that tests notice.
    pub(super) ignore_pure: bool,
}

const NONE: u32 = u32::MAX;
/// Stands in the place of the state in a row that another has replaced.
const DEAD: u32 = u32::MAX;
/// Up to so many rows are scanned.
const SCANNED_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Layer {
    words: usize,
    rows: Vec<u64>,
    /// For each row the next one of the same key.
    next: Vec<u32>,
    /// Open addressing: the newest row of a key. Empty while the rows are few.
    index: Vec<u32>,
    alive: usize,
}

pub(super) fn head(state: u32, trail: u32) -> u64 {
    u64::from(state) | u64::from(trail) << 32
}

pub(super) fn state_of(row: &[u64]) -> u32 {
    row[0] as u32
}

pub(super) fn trail_of(row: &[u64]) -> u32 {
    (row[0] >> 32) as u32
}

impl Layer {
    /// An empty set of configurations with so many words of bits.
    pub(super) fn clear(&mut self, words: usize) {
        self.words = words;
        self.rows.clear();
        self.next.clear();
        self.alive = 0;
        // The index of a burst is not carried along: clearing it each time would cost more than the rows do.
        self.index = Vec::new();
    }

    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.rows.capacity() * 8 + self.next.capacity() * 4 + self.index.capacity() * 4) as u64
    }

    pub(super) fn row(&self, index: u32) -> &[u64] {
        let stride = self.words + 1;
        &self.rows[index as usize * stride..][..stride]
    }

    pub(super) fn is_dead(&self, index: u32) -> bool {
        state_of(self.row(index)) == DEAD
    }

    /// The rows that nothing replaced.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.rows.chunks_exact(self.words + 1).filter(|row| state_of(row) != DEAD)
    }

    /// The rows, to change bits that no comparison depends on, or all rows alike.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.rows.chunks_exact_mut(self.words + 1).filter(|row| state_of(row) != DEAD)
    }

    /// Makes room for more bits.
    pub(super) fn widen(&mut self, words: usize) {
        let mut rows = Vec::with_capacity(self.rows.len() / (self.words + 1) * (words + 1));
        for row in self.rows.chunks_exact(self.words + 1) {
            rows.extend_from_slice(row);
            rows.extend(std::iter::repeat_n(0, words - self.words));
        }
        self.rows = rows;
        self.words = words;
    }

    pub(super) fn set_trail(&mut self, index: u32, trail: u32) {
        let stride = self.words + 1;
        let first = &mut self.rows[index as usize * stride];
        *first = head(*first as u32, trail);
    }

    /// Adds a row unless another stands for it already; those that it stands for are dropped.
    ///
    /// Sound: let A and B have the same state and the same completed updates, A fewer of the steps that never
    /// returned and more of the pure ones. Every completion of B completes A: leave out the pure steps that A
    /// has already, and let what B had used and A has not go unused. So B need not be tried.
    pub(super) fn insert(&mut self, row: &[u64], masks: &Masks) -> Option<u32> {
        let fresh = u32::try_from(self.next.len()).expect("the budget ends a search before 2³² rows");
        let mut slot = None;
        let mut newest = NONE;
        if self.index.is_empty() {
            for other in 0..fresh {
                if self.has_key_of(other, row, masks) && self.settle(other, row, masks) {
                    return None;
                }
            }
        } else {
            let found = self.find(row, masks);
            newest = self.index[found];
            slot = Some(found);
            let mut other = newest;
            while other != NONE {
                if self.settle(other, row, masks) {
                    return None;
                }
                other = self.next[other as usize];
            }
        }
        self.rows.extend_from_slice(row);
        self.next.push(newest);
        self.alive += 1;
        if let Some(slot) = slot {
            self.index[slot] = fresh;
        }
        let count = self.next.len();
        if count > SCANNED_MAX && 2 * count > self.index.len() {
            self.reindex(masks);
        }
        Some(fresh)
    }

    /// Compares a new row with one of its key: true if that stands for the new one; drops it if the new one
    /// stands for it.
    fn settle(&mut self, other: u32, row: &[u64], masks: &Masks) -> bool {
        let old = self.row(other);
        if state_of(old) == DEAD {
            return false;
        }
        let (mut old_is_enough, mut new_is_enough) = (true, true);
        for word in 0..self.words {
            let (old, new) = (old[word + 1], row[word + 1]);
            if !masks.ignore_pure {
                let pure = masks.pure[word];
                old_is_enough &= new & !old & pure == 0;
                new_is_enough &= old & !new & pure == 0;
            }
            let lasting = masks.lasting[word];
            old_is_enough &= old & !new & lasting == 0;
            new_is_enough &= new & !old & lasting == 0;
        }
        if !old_is_enough && new_is_enough {
            let stride = self.words + 1;
            self.rows[other as usize * stride] = head(DEAD, 0);
            self.alive -= 1;
        }
        old_is_enough
    }

    fn has_key_of(&self, other: u32, row: &[u64], masks: &Masks) -> bool {
        let old = self.row(other);
        state_of(old) == state_of(row)
            && old[1..].iter().zip(&row[1..]).zip(&masks.key).all(|((old, new), key)| (old ^ new) & key == 0)
    }

    /// The place in the index of the rows of this key, or a free one. The newest row of a key is never dead: only a
    /// newer one replaces it.
    fn find(&self, row: &[u64], masks: &Masks) -> usize {
        let mut hasher = Mix::default();
        hasher.write_u32(state_of(row));
        for (word, key) in row[1..].iter().zip(&masks.key) {
            hasher.write_u64(word & key);
        }
        let wrap = self.index.len() - 1;
        let mut place = hasher.finish() as usize & wrap;
        loop {
            let other = self.index[place];
            if other == NONE || self.has_key_of(other, row, masks) {
                return place;
            }
            place = (place + 1) & wrap;
        }
    }

    fn reindex(&mut self, masks: &Masks) {
        self.index = vec![NONE; (4 * self.next.len()).next_power_of_two()];
        self.next.fill(NONE);
        for row in 0..u32::try_from(self.next.len()).expect("the budget ends a search before 2³² rows") {
            if self.is_dead(row) {
                continue;
            }
            let bits = self.row(row).to_vec();
            let place = self.find(&bits, masks);
            self.next[row as usize] = self.index[place];
            self.index[place] = row;
        }
    }
}
