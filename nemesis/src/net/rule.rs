//! What shall happen to the packets of one directed link.
//!
//! A rule is what the link does as a whole. Several faults may have their weather on one link; [`Rule::and`] says what
//! they do together, so that each can be put on and taken off without knowing the others.

use std::time::Duration;

/// The rule of one directed link. The default passes everything at once.
///
/// A new rule holds for packets that the switch has not seen yet. Those already waiting keep the time they were given,
/// except that a link that is cut or down loses them: a cut cable does not deliver what is in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Drop everything, also what waits to be delivered.
    pub block: bool,
    /// Go down and come up again, over and over.
    pub flap: Option<Flap>,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// How many packets are lost in a row, on average; at 0 and 1 each is lost or not by itself. The share that is lost
    /// stays `loss`: longer bursts are rarer. (Gilbert's model: everything is lost in the bad state, nothing in the good.)
    pub loss_burst: u32,
    /// The probability that a packet arrives twice.
    pub duplicate: f64,
    /// The probability that one bit of a packet's payload is flipped. Checksums are left as they were, so that TCP and
    /// UDP discard such a packet on arrival: to them this is loss that the network did not notice.
    pub corrupt: f64,
    /// The probability that one bit of the data in a TCP or UDP packet is flipped and the checksum made to fit, as by a
    /// router with broken memory. Programs get such data unless they have checksums of their own.
    pub alter: f64,
    /// The probability that a packet is held back, so that later ones overtake it.
    pub reorder: f64,
    /// For how long `reorder` holds packets back: longer than the gap between the messages of a busy connection,
    /// shorter than an election timeout.
    pub reorder_gap: Duration,
    /// How long each packet travels.
    pub delay: Duration,
    /// How much `delay` varies, as `spread` says. Packets overtake each other unless `fifo`.
    pub jitter: Duration,
    /// How delays are distributed around `delay`.
    pub spread: Spread,
    /// Keep packets in order: each waits for the one before. With jitter the mean delay then rises towards the largest.
    /// Packets held back by `reorder` are not waited for.
    pub fifo: bool,
    /// Bits a second, IP headers included. Packets queue up to 128 KiB and overflow beyond.
    pub bandwidth: Option<u64>,
}

/// How long a link is down and then up, beginning with the first packet that it sees under the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// How long everything is dropped.
    pub down: Duration,
    /// How long everything passes, until it goes down again.
    pub up: Duration,
}

/// How travel times vary. The mean is the rule's delay in each; no packet arrives before it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Evenly, by up to the jitter in both directions.
    #[default]
    Uniform,
    /// Normally; the jitter is the standard deviation.
    Normal,
    /// As in congested networks: most are a little early, a few very late. Pareto's distribution of shape 3; the jitter
    /// is its standard deviation.
    Pareto,
}

impl Rule {
    /// The rule that passes everything at once.
    pub const OPEN: Self = Self {
        block: false,
        flap: None,
        loss: 0.0,
        loss_burst: 0,
        duplicate: 0.0,
        corrupt: 0.0,
        alter: 0.0,
        reorder: 0.0,
        reorder_gap: Duration::from_millis(10),
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        spread: Spread::Uniform,
        fifo: false,
        bandwidth: None,
    };

    /// The rule that drops everything.
    pub const BLOCK: Self = Self { block: true, ..Self::OPEN };

    /// What a link does that has the weather of both: a packet that escapes one may fall to the other, travel times add
    /// up, the narrower bandwidth holds. Of two spreads, bursts or rhythms the rougher one holds, as a link has one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // One minus the chance to escape both, written so that a sunny link changes not even the last digit.
        let either = |a: f64, b: f64| a + b - a * b;
        Self {
            block: self.block || other.block,
            flap: self.flap.into_iter().chain(other.flap).max_by_key(|flap| flap.down),
            loss: either(self.loss, other.loss),
            loss_burst: self.loss_burst.max(other.loss_burst),
            duplicate: either(self.duplicate, other.duplicate),
            corrupt: either(self.corrupt, other.corrupt),
            alter: either(self.alter, other.alter),
            reorder: either(self.reorder, other.reorder),
            reorder_gap: self
                .reorder_gap_if_used()
                .max(other.reorder_gap_if_used())
                .unwrap_or(Self::OPEN.reorder_gap),
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            spread: if other.jitter > self.jitter { other.spread } else { self.spread },
            fifo: self.fifo || other.fifo,
            bandwidth: self.bandwidth.into_iter().chain(other.bandwidth).min(),
        }
    }

    /// Whether this rule, put in the place of `before`, lets packets pass that were dropped for a reason that is gone.
    pub(super) fn eases(&self, before: &Self) -> bool {
        let gone = (before.block && !self.block)
            || (before.flap.is_some() && self.flap.is_none())
            || (before.loss > 0.0 && self.loss <= 0.0);
        gone && !self.block
    }

    fn reorder_gap_if_used(&self) -> Option<Duration> {
        (self.reorder > 0.0).then_some(self.reorder_gap)
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_rule_changes_nothing() {
        let rough = Rule {
            flap: Some(Flap { down: Duration::from_millis(1), up: Duration::from_millis(2) }),
            loss: 0.2,
            loss_burst: 3,
            duplicate: 0.1,
            corrupt: 0.3,
            alter: 0.7,
            reorder: 0.1,
            reorder_gap: Duration::from_millis(3),
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(1),
            spread: Spread::Pareto,
            fifo: true,
            bandwidth: Some(1000),
            block: true,
        };
        assert_eq!(rough.and(Rule::OPEN), rough);
        assert_eq!(Rule::OPEN.and(rough), rough);
    }

    #[test]
    fn two_weathers_add_up() {
        let ms = Duration::from_millis;
        let one = Rule { loss: 0.5, delay: ms(5), bandwidth: Some(9), ..Rule::OPEN };
        let two = Rule { loss: 0.5, delay: ms(7), jitter: ms(2), spread: Spread::Normal, ..Rule::OPEN };
        let both = one.and(two);
        assert!((both.loss - 0.75).abs() < 1e-9);
        assert_eq!((both.delay, both.jitter, both.spread), (ms(12), ms(2), Spread::Normal));
        assert_eq!(both.bandwidth, Some(9));
    }

    #[test]
    fn a_link_eases_when_a_reason_to_drop_is_gone_and_it_is_not_cut() {
        let lossy = Rule { loss: 0.5, ..Rule::OPEN };
        assert!(Rule::OPEN.eases(&Rule::BLOCK));
        assert!(Rule::OPEN.eases(&lossy));
        assert!(lossy.eases(&lossy.and(Rule::BLOCK)), "the cut is over, the weather stays");
        assert!(!Rule::BLOCK.eases(&lossy.and(Rule::BLOCK)), "nothing passes yet");
        assert!(!lossy.eases(&lossy));
        assert!(!Rule::BLOCK.eases(&Rule::OPEN));
    }
}
