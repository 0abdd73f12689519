//! What shall happen to packets, by directed link, and what did.
//!
//! The table is shared: any thread writes rules, the switch reads them for each packet. The switch holds the lock
//! while it passes a packet on, so that a rule is in force when [`Table::set`] returns, and a packet is counted
//! when it has arrived.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use checkers::history::NodeId;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::rule::Rule;

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A node.
    Node(NodeId),
    /// The harness and its clients.
    Harness,
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

/// A directed link between two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Whose packets.
    pub from: Endpoint,
    /// To whom.
    pub to: Endpoint,
}

impl Link {
    /// The link between these two.
    pub fn new(from: impl Into<Endpoint>, to: impl Into<Endpoint>) -> Self {
        Self { from: from.into(), to: to.into() }
    }

    /// The other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

/// Declares the counters of a link once, as what the switch adds to and as what a reader is given.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the switch has counted on one directed link since boot, in packets unless another unit is named.
        ///
        /// `seen + duplicated + redelivered` is the sum of `delivered`, `blocked`, `lost`, `overflowed`, `write_errors` and of what
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
    /// Handed to the receiver's device, in bytes with IP headers.
    delivered_bytes,
    /// Dropped by `block`, or because `flap` had the link down.
    blocked,
    /// Dropped by `loss`.
    lost,
    /// Copies made by `duplicate`.
    duplicated,
    /// Held back by `reorder`.
    reordered,
    /// Passed on with a flipped bit and a checksum that does not fit.
    corrupted,
    /// Passed on with a flipped bit and a checksum that fits.
    altered,
    /// Made to wait, for whatever reason.
    delayed,
    /// Dropped because the queue of `bandwidth`, or the memory for waiting packets, was full.
    overflowed,
    /// Refused by the receiver's device.
    write_errors,
    /// TCP segments dropped before, and sent on their way when the link was healed.
    redelivered,
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
        self.add_many(1);
    }

    pub(super) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rules and counters of all directed links between `ports` ports.
pub(super) struct Table {
    ports: usize,
    rules: RwLock<Vec<Rule>>,
    /// Links that pass again what they dropped, for the switch to look at.
    eased: Mutex<Vec<usize>>,
    /// Tells the switch that there are some.
    pub(super) wake: EventFd,
    counted: Vec<Counted>,
    pub(super) unknown: Counter,
    pub(super) spoofed: Counter,
    pub(super) malformed: Counter,
}

impl Table {
    pub(super) fn new(ports: usize) -> nix::Result<Self> {
        let links = ports * ports;
        Ok(Self {
            ports,
            rules: RwLock::new(vec![Rule::OPEN; links]),
            eased: Mutex::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            counted: (0..links).map(|_| Counted::default()).collect(),
            unknown: Counter::default(),
            spoofed: Counter::default(),
            malformed: Counter::default(),
        })
    }

    /// The number of a link, by the numbers of its ports.
    pub(super) fn link(&self, from: usize, to: usize) -> usize {
        from * self.ports + to
    }

    /// The port at the end of a link.
    pub(super) fn end(&self, link: usize) -> usize {
        link % self.ports
    }

    pub(super) fn set(&self, link: usize, rule: Rule) {
        let before = std::mem::replace(&mut self.write()[link], rule);
        if rule.eases(&before) {
            self.ease([link]);
        }
    }

    pub(super) fn rule(&self, link: usize) -> Rule {
        self.rules()[link]
    }

    pub(super) fn clear(&self) {
        let mut rules = self.write();
        let eased = (0..rules.len()).filter(|&link| Rule::OPEN.eases(&rules[link])).collect::<Vec<_>>();
        rules.fill(Rule::OPEN);
        drop(rules);
        self.ease(eased);
    }

    /// Links that were eased since the last call.
    pub(super) fn take_eased(&self) -> Vec<usize> {
        std::mem::take(&mut *self.eased.lock().expect("nobody panics while holding the list"))
    }

    fn ease(&self, links: impl IntoIterator<Item = usize>) {
        self.eased.lock().expect("nobody panics while holding the list").extend(links);
        if let Err(errno) = self.wake.write(1) {
            tracing::warn!(%errno, "failed to wake the switch; connections go on when TCP tries again by itself");
        }
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
