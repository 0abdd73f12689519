//! What shall happen to packets, by directed link, and what did.
//!
//! The table is shared: any thread writes rules, the switch reads them for each packet. The switch holds the lock
//! while it passes a packet on, so that a rule is in force when [`Table::set`] returns, and a packet is counted
//! when it has arrived.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use checkers::history::NodeId;

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// The harness and its clients.
    Harness,
    /// A node.
    Node(NodeId),
}

impl From<NodeId> for Endpoint {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harness => f.pad("harness"),
            Self::Node(node) => node.fmt(f),
        }
    }
}

/// The rule of one directed link. The default passes everything at once.
///
/// A new rule holds for packets that the switch has not seen yet. Those already waiting keep the time they were given,
/// except that a blocked link loses them: a cut cable does not deliver what is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Drop everything, also what waits to be delivered.
    pub block: bool,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// The probability that a packet arrives twice.
    pub duplicate: f64,
    /// The probability that one bit of a packet's payload is flipped. Checksums are left as they were, so that TCP and
    /// UDP discard such a packet on arrival: to them this is loss that the network did not notice.
    pub corrupt: f64,
    /// The probability that a packet is held back by a further 10 ms, so that later ones overtake it.
    pub reorder: f64,
    /// How long each packet travels.
    pub delay: Duration,
    /// `delay` varies by up to this much in both directions, uniformly. Packets overtake each other unless `fifo`.
    pub jitter: Duration,
    /// Keep packets in order: each waits for the one before. With jitter the mean delay then rises towards the largest.
    /// Packets held back by `reorder` are not waited for.
    pub fifo: bool,
    /// Bits a second, IP headers included. Packets queue up to 128 KiB and overflow beyond.
    pub bandwidth: Option<u64>,
}

impl Rule {
    /// The rule that drops everything.
    pub const BLOCK: Self = Self {
        block: true,
        loss: 0.0,
        duplicate: 0.0,
        corrupt: 0.0,
        reorder: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        fifo: false,
        bandwidth: None,
    };
}

/// Declares the counters of a link once, as what the switch adds to and as what a reader is given.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the switch has counted on one directed link since boot, in packets.
        ///
        /// `seen + duplicated` is the sum of `delivered`, `blocked`, `lost`, `overflowed`, `write_errors` and of what
        /// waits to be delivered.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LinkCounters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Default)]
        pub(super) struct Counted { $(pub(super) $name: Counter,)* }

        impl Counted {
            fn read(&self) -> LinkCounters {
                LinkCounters { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Sent by the source.
    seen,
    /// Handed to the receiver's device.
    delivered,
    /// Dropped by `block`.
    blocked,
    /// Dropped by `loss`.
    lost,
    /// Copies made by `duplicate`.
    duplicated,
    /// Held back by `reorder`.
    reordered,
    /// Passed on with a flipped bit.
    corrupted,
    /// Made to wait, for whatever reason.
    delayed,
    /// Dropped because the queue of `bandwidth`, or the memory for waiting packets, was full.
    overflowed,
    /// Refused by the receiver's device.
    write_errors,
}

/// Packets that belong to no link, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// For an address that nobody has, multicast included.
    pub unknown: u64,
    /// With a source address that is not the sender's.
    pub spoofed: u64,
    /// Not IPv4, or too short to be.
    pub malformed: u64,
}

/// A number that the switch alone adds to.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rules and counters of all directed links between `ports` ports.
pub(super) struct Table {
    ports: usize,
    rules: RwLock<Vec<Rule>>,
    counted: Vec<Counted>,
    pub(super) unknown: Counter,
    pub(super) spoofed: Counter,
    pub(super) malformed: Counter,
}

impl Table {
    pub(super) fn new(ports: usize) -> Self {
        let links = ports * ports;
        Self {
            ports,
            rules: RwLock::new(vec![Rule::default(); links]),
            counted: (0..links).map(|_| Counted::default()).collect(),
            unknown: Counter::default(),
            spoofed: Counter::default(),
            malformed: Counter::default(),
        }
    }

    /// The number of a link, by the numbers of its ports.
    pub(super) fn link(&self, from: usize, to: usize) -> usize {
        from * self.ports + to
    }

    pub(super) fn set(&self, link: usize, rule: Rule) {
        self.write()[link] = rule;
    }

    pub(super) fn rule(&self, link: usize) -> Rule {
        self.rules()[link]
    }

    pub(super) fn clear(&self) {
        self.write().fill(Rule::default());
    }

    /// The rules, for as long as the switch handles a packet.
    pub(super) fn rules(&self) -> RwLockReadGuard<'_, Vec<Rule>> {
        self.rules.read().expect("nobody panics while holding the rules")
    }

    pub(super) fn counted(&self, link: usize) -> &Counted {
        &self.counted[link]
    }

    pub(super) fn counters(&self, link: usize) -> LinkCounters {
        // Waits for the packet that is being passed on, so that a packet that has arrived has been counted.
        let _between_packets = self.write();
        self.counted[link].read()
    }

    pub(super) fn strays(&self) -> Strays {
        Strays { unknown: self.unknown.get(), spoofed: self.spoofed.get(), malformed: self.malformed.get() }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Rule>> {
        self.rules.write().expect("nobody panics while holding the rules")
    }
}
