//! A fast hash for keys that nobody chooses to collide: values of a workload and numbers of our own.
//!
//! The standard hash withstands an adversary and costs several times as much; here a bad case only costs time.

use std::hash::{BuildHasher, Hasher};

/// Makes [`Mix`]es.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BuildMix;

/// Multiplies by an odd constant and folds the high half down, a word at a time.
#[derive(Default)]
pub(super) struct Mix(u64);

impl BuildHasher for BuildMix {
    type Hasher = Mix;

    fn build_hasher(&self) -> Mix {
        Mix(0)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }

    fn write_u128(&mut self, word: u128) {
        // Such keys are random already, in both halves.
        self.write_u64((word >> 64) as u64 ^ word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ word ^ 0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// Makes [`Near`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BuildNear;

/// For values of a workload, which are mostly counted up: those that are near to one another are kept near to one
/// another, so that a table larger than the caches is walked through and not jumped about in.
///
/// Blocks of 64 numbers are scattered; within a block the number itself tells the place.
#[derive(Default)]
pub(super) struct Near(Mix);

impl BuildHasher for BuildNear {
    type Hasher = Near;

    fn build_hasher(&self) -> Near {
        Near::default()
    }
}

impl Hasher for Near {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u64(&mut self, word: u64) {
        self.0.write_u64(word >> 6);
        let place = word & 63;
        // Tables take the place from the low bits, and from the high ones what tells neighbours apart.
        self.0.0 = (self.0.0 & !63 | place) ^ place << 58;
    }
}

/// A number that looks random and is the same every time (SplitMix64's last step, twice).
pub(super) fn scatter(number: u64) -> u128 {
    let mix = |seed: u64| {
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let step = number.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = step.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd134_2543_de82_ef95);
    u128::from(mix(step)) << 64 | u128::from(mix(next))
}
