//! The one hash of this crate: 64-bit FNV-1a with a mixing step at the end.
//!
//! Digests of entries and states are compared between nodes, between lives of a node and between builds, so the
//! function is fixed here and takes no random state. It resists accidents, not an adversary.
//!
//! FNV-1a alone leaves the upper bits of short inputs poorly mixed, which matters because the digest of a state
//! is a *sum* of key hashes: two poorly mixed hashes can cancel out. The finalizer (the one of MurmurHash3)
//! spreads every input bit over the whole word.

/// A hash in the making.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Adds bytes as they are. Two neighbouring fields of variable length need [`Hasher::field`] instead.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// Adds a number, as eight little-endian bytes.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// Adds bytes with their length in front, so that `("ab", "c")` and `("a", "bc")` differ.
    #[must_use]
    pub fn field(self, bytes: &[u8]) -> Self {
        self.number(bytes.len() as u64).bytes(bytes)
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // Before the finalizer, FNV-1a of "a" is the published af63dc4c8601ec8c.
        assert_eq!(Hasher::default().bytes(b"a").0, 0xaf63_dc4c_8601_ec8c);
        assert_ne!(
            Hasher::default().field(b"ab").field(b"c").finish(),
            Hasher::default().field(b"a").field(b"bc").finish()
        );
    }
}
