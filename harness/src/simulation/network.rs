//! A simulated network: messages under way, lost, doubled and late, and links that are cut.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use cluster_under_test::raft::{Envelope, Message, NodeId};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// How bad the weather is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Share of messages that are lost.
    pub(super) loss: f64,
    /// Share of messages that arrive twice.
    pub(super) duplicate: f64,
    /// A message takes 1 to this many ticks; unequal delays reorder.
    pub(super) delay_max: u64,
}

impl Weather {
    /// Every message arrives on the next tick.
    pub(super) const CALM: Self = Self { loss: 0.0, duplicate: 0.0, delay_max: 1 };
}

/// All messages under way.
pub(super) struct Network {
    weather: Weather,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// By (tick of arrival, order of sending); the message itself does not take part in the order.
    under_way: BinaryHeap<Reverse<(u64, u64, Letter)>>,
    sent: u64,
    rng: Pcg64Mcg,
}

struct Letter(Envelope);

impl PartialEq for Letter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Letter {}
impl PartialOrd for Letter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Letter {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Raft's own messages may come twice, and the protocol must not mind. A client's request that a follower passes on must
/// not: two copies are two requests. The transport promises that (a connection delivers a frame at most once, and a
/// frame is never written to a second connection), so the simulation keeps the promise too.
fn may_come_twice(message: &Envelope) -> bool {
    !matches!(message.message, Message::Propose { .. } | Message::Change { .. })
}

impl Network {
    pub(super) fn new(weather: Weather, rng: Pcg64Mcg) -> Self {
        Self { weather, cuts: BTreeSet::new(), under_way: BinaryHeap::new(), sent: 0, rng }
    }

    /// Changes the weather for messages sent from now on.
    pub(super) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Cuts these links, by direction, and restores all others.
    pub(super) fn set_cuts(&mut self, cuts: BTreeSet<(NodeId, NodeId)>) {
        self.cuts = cuts;
    }

    pub(super) fn send(&mut self, message: &Envelope, now: u64) {
        let copies = 1 + u32::from(self.rng.random_bool(self.weather.duplicate) && may_come_twice(message));
        for _ in 0..copies {
            if self.rng.random_bool(self.weather.loss) {
                continue;
            }
            let arrival = now + self.rng.random_range(1..=self.weather.delay_max);
            self.sent += 1;
            self.under_way.push(Reverse((arrival, self.sent, Letter(message.clone()))));
        }
    }

    /// The next message that has arrived by now. What is under way on a link when it is cut is lost.
    pub(super) fn deliver(&mut self, now: u64) -> Option<Envelope> {
        while self.under_way.peek().is_some_and(|Reverse((arrival, ..))| *arrival <= now) {
            let Reverse((_, _, Letter(message))) = self.under_way.pop().expect("it was just seen");
            if !self.cuts.contains(&(message.from, message.to)) {
                return Some(message);
            }
        }
        None
    }
}
