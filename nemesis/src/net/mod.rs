//! The network of a run.

/// The rule of one directed link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Drop everything.
    pub block: bool,
}

/// What the switch has counted on one directed link since boot, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Handed to the receiver's device.
    pub delivered: u64,
    /// Dropped by `block`.
    pub blocked: u64,
}
