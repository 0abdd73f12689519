//! Decides the fate of a packet: a function of the link's rule, the time and the link's own random stream.
//!
//! Each link draws from a stream of its own, so that what happens on one link does not depend on the traffic of
//! another. There are no sockets here; the switch carries the decisions out.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;

use super::rule::{Flap, Rule, Spread};

/// Bytes that queue before a link of limited bandwidth, like a small router's buffer.
pub(super) const QUEUE_BYTES_MAX: u64 = 128 * 1024;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Blocked,
    Lost,
    /// It travels, and perhaps a copy of it.
    Sent(Passage, Option<Passage>),
}

/// How one copy travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Passage {
    /// The queue was full.
    Overflowed,
    /// It arrives.
    Due {
        /// When, since the switch started.
        at: Duration,
        /// Which bit to flip, as a number to be reduced to the packet's size.
        corrupt: Option<u64>,
        /// The same for a bit of its data, with the checksum made to fit.
        alter: Option<u64>,
        /// Whether it was held back.
        reordered: bool,
    },
}

/// What the rule of a link must remember between packets.
pub(super) struct Link {
    rng: Pcg64Mcg,
    /// When the line will have sent all that is queued, under `bandwidth`.
    idle_at: Duration,
    /// The bandwidth that `idle_at` was computed with.
    bandwidth: Option<u64>,
    /// When the packet before this one is due, for `fifo`.
    last_due: Duration,
    /// Whether a burst of losses is under way, under `loss_burst`.
    in_burst: bool,
    /// The rhythm that `flap` follows, and when it began.
    flap: Option<(Flap, Duration)>,
}

impl Link {
    pub(super) fn new(rng: Pcg64Mcg) -> Self {
        let (idle_at, last_due) = (Duration::ZERO, Duration::ZERO);
        Self { rng, idle_at, bandwidth: None, last_due, in_burst: false, flap: None }
    }

    /// Whether nothing passes now, also not what waits.
    pub(super) fn is_down(&mut self, rule: &Rule, now: Duration) -> bool {
        rule.block || rule.flap.is_some_and(|flap| self.flaps_down(flap, now))
    }

    /// Decides about a packet of `bytes` that was seen `now`.
    pub(super) fn decide(&mut self, rule: &Rule, now: Duration, bytes: usize) -> Fate {
        if self.is_down(rule, now) {
            return Fate::Blocked;
        }
        if self.loses(rule) {
            return Fate::Lost;
        }
        let twice = self.chance(rule.duplicate);
        let first = self.travel(rule, now, bytes);
        let second = twice.then(|| self.travel(rule, now, bytes));
        Fate::Sent(first, second)
    }

    /// How a packet travels that was dropped before and is sent on its way now. Losing it again, or anything else that is
    /// drawn by chance, would make it depend on luck whether its connection goes on.
    pub(super) fn travel_late(&mut self, rule: &Rule, now: Duration, bytes: usize) -> Passage {
        let rule = Rule { corrupt: 0.0, alter: 0.0, reorder: 0.0, ..*rule };
        self.travel(&rule, now, bytes)
    }

    fn travel(&mut self, rule: &Rule, now: Duration, bytes: usize) -> Passage {
        let Some(sent_at) = self.transmit(rule.bandwidth, now, bytes) else { return Passage::Overflowed };
        let mut at = sent_at + rule.delay;
        if !rule.jitter.is_zero() {
            let shift_s = rule.jitter.as_secs_f64() * self.deviation(rule.spread);
            let shift = Duration::from_secs_f64(shift_s.abs());
            at = if shift_s < 0.0 { at.saturating_sub(shift).max(sent_at) } else { at + shift };
        }
        let corrupt = self.chance(rule.corrupt).then(|| self.rng.next_u64());
        let alter = self.chance(rule.alter).then(|| self.rng.next_u64());
        let reordered = self.chance(rule.reorder);
        if reordered {
            at += rule.reorder_gap;
        } else if rule.fifo {
            at = at.max(self.last_due);
            self.last_due = at;
        }
        Passage::Due { at, corrupt, alter, reordered }
    }

    /// A deviation from the mean, in jitters.
    fn deviation(&mut self, spread: Spread) -> f64 {
        match spread {
            Spread::Uniform => 2.0 * self.rng.random::<f64>() - 1.0,
            // Box and Muller's; the logarithm of zero is avoided by counting from the other end.
            Spread::Normal => {
                let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
                radius * (std::f64::consts::TAU * self.rng.random::<f64>()).cos()
            }
            // A shape of 3 has mean 3/2 and variance 3/4. One in eight thousand would lie beyond 20 and is cut there.
            Spread::Pareto => {
                let draw = (1.0 - self.rng.random::<f64>()).powf(-1.0 / 3.0).min(20.0);
                (draw - 1.5) / 0.75_f64.sqrt()
            }
        }
    }

    fn loses(&mut self, rule: &Rule) -> bool {
        if rule.loss_burst <= 1 || rule.loss <= 0.0 || rule.loss >= 1.0 {
            self.in_burst = false;
            return self.chance(rule.loss);
        }
        // Leaving after `loss_burst` packets on average, and entering as often as makes the share right. Where even
        // entering at once would lose too few, bursts are longer.
        let leave = (1.0 / f64::from(rule.loss_burst)).min((1.0 - rule.loss) / rule.loss);
        let enter = leave * rule.loss / (1.0 - rule.loss);
        self.in_burst = if self.in_burst { !self.chance(leave) } else { self.chance(enter) };
        self.in_burst
    }

    fn flaps_down(&mut self, flap: Flap, now: Duration) -> bool {
        let began = match self.flap {
            Some((known, began)) if known == flap => began,
            Some(_) | None => now,
        };
        self.flap = Some((flap, began));
        let period = (flap.down + flap.up).as_nanos().max(1);
        now.saturating_sub(began).as_nanos() % period < flap.down.as_nanos()
    }

    /// When the last bit has left, `None` if the queue before the line is full.
    fn transmit(&mut self, bandwidth: Option<u64>, now: Duration, bytes: usize) -> Option<Duration> {
        if bandwidth != self.bandwidth {
            // A backlog at the old speed says nothing about the new one.
            self.bandwidth = bandwidth;
            self.idle_at = now;
        }
        let Some(bits_per_s) = bandwidth else { return Some(now) };
        let bits_per_s = bits_per_s.max(1) as f64;
        let backlog = self.idle_at.saturating_sub(now);
        let queued_bytes = backlog.as_secs_f64() * bits_per_s / 8.0;
        if queued_bytes + bytes as f64 > QUEUE_BYTES_MAX as f64 {
            return None;
        }
        self.idle_at = now + backlog + Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_s);
        Some(self.idle_at)
    }

    fn chance(&mut self, probability: f64) -> bool {
        // Nothing is drawn for what is switched off: it costs time for each packet.
        probability > 0.0 && self.rng.random::<f64>() < probability
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const PACKETS: u32 = 10_000;
    const GAP: Duration = Duration::from_micros(100);
    const BYTES: usize = 1000;

    fn fates(rule: &Rule) -> Vec<(Duration, Fate)> {
        let mut link = Link::new(Pcg64Mcg::seed_from_u64(1));
        (0..PACKETS).map(|nth| GAP * nth).map(|now| (now, link.decide(rule, now, BYTES))).collect()
    }

    fn share(rule: &Rule, wanted: impl Fn(&Fate) -> bool) -> f64 {
        fates(rule).iter().filter(|(_, fate)| wanted(fate)).count() as f64 / f64::from(PACKETS)
    }

    /// Travel times of packets that arrive once.
    fn travels(rule: &Rule) -> Vec<Duration> {
        fates(rule).iter().filter_map(|&(now, fate)| due(fate).map(|at| at - now)).collect()
    }

    fn due(fate: Fate) -> Option<Duration> {
        match fate {
            Fate::Sent(Passage::Due { at, .. }, None) => Some(at),
            Fate::Sent(..) | Fate::Blocked | Fate::Lost => None,
        }
    }

    #[test]
    fn the_default_rule_passes_everything_at_once() {
        assert_eq!(travels(&Rule::default()), vec![Duration::ZERO; PACKETS as usize]);
    }

    #[test]
    fn a_blocked_link_passes_nothing() {
        assert!(fates(&Rule::BLOCK).iter().all(|(_, fate)| *fate == Fate::Blocked));
    }

    #[test]
    fn probabilities_are_met() {
        let lost = share(&Rule { loss: 0.2, ..Rule::default() }, |fate| *fate == Fate::Lost);
        assert!((lost - 0.2).abs() < 0.02, "{lost}");
        let twice =
            share(&Rule { duplicate: 0.1, ..Rule::default() }, |fate| matches!(fate, Fate::Sent(_, Some(_))));
        assert!((twice - 0.1).abs() < 0.02, "{twice}");
        let flipped = share(&Rule { corrupt: 0.1, ..Rule::default() }, |fate| {
            matches!(fate, Fate::Sent(Passage::Due { corrupt: Some(_), .. }, None))
        });
        assert!((flipped - 0.1).abs() < 0.02, "{flipped}");
        let all = share(&Rule { loss: 1.0, ..Rule::default() }, |fate| *fate == Fate::Lost);
        assert!((all - 1.0).abs() < f64::EPSILON, "{all}");
    }

    #[test]
    fn jitter_spreads_the_delay_evenly_around_it() {
        let ms = Duration::from_millis;
        let travels = travels(&Rule { delay: ms(100), jitter: ms(50), ..Rule::default() });
        assert!(travels.iter().all(|&travel| (ms(50)..=ms(150)).contains(&travel)));
        let mean = travels.iter().sum::<Duration>() / PACKETS;
        assert!((ms(98)..ms(102)).contains(&mean), "{mean:?}");
    }

    #[test]
    fn jitter_beyond_the_delay_does_not_travel_back_in_time() {
        let ms = Duration::from_millis;
        assert_eq!(travels(&Rule { delay: ms(1), jitter: ms(5), ..Rule::default() }).len(), PACKETS as usize);
    }

    #[test]
    fn fifo_keeps_the_order_that_jitter_breaks() {
        let rule = Rule { jitter: Duration::from_millis(5), ..Rule::default() };
        let ordered = |rule: &Rule| {
            fates(rule).iter().filter_map(|&(_, fate)| due(fate)).collect::<Vec<_>>().is_sorted()
        };
        assert!(!ordered(&rule));
        assert!(ordered(&Rule { fifo: true, ..rule }));
    }

    #[test]
    fn a_reordered_packet_is_overtaken_even_without_delay() {
        let travels = travels(&Rule { reorder: 0.25, fifo: true, ..Rule::default() });
        let held = travels.iter().filter(|&&travel| travel == Rule::OPEN.reorder_gap).count();
        let share = held as f64 / f64::from(PACKETS);
        assert!((share - 0.25).abs() < 0.02, "{share}");
        assert!(travels.iter().all(|travel| travel.is_zero() || *travel == Rule::OPEN.reorder_gap));
    }

    #[test]
    fn bandwidth_paces_packets_and_overflows_when_its_queue_is_full() {
        // 80 Mbit/s are offered.
        let rule = Rule { bandwidth: Some(8_000_000), ..Rule::default() };
        let fates = fates(&rule);
        let dues = fates.iter().filter_map(|&(_, fate)| due(fate)).collect::<Vec<_>>();
        assert!(dues.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_micros(999)));
        let overflowed =
            fates.iter().filter(|(_, fate)| *fate == Fate::Sent(Passage::Overflowed, None)).count();
        assert_eq!(overflowed + dues.len(), PACKETS as usize);
        // One second at 1 MB/s, and what is queued at its end.
        let expected = (1_000_000 + QUEUE_BYTES_MAX) as usize / BYTES;
        assert!(dues.len().abs_diff(expected) <= 2, "{} of {expected}", dues.len());
        let waits = fates.iter().filter_map(|&(now, fate)| due(fate).map(|at| at - now));
        assert!(waits.max().expect("packets passed") <= Duration::from_millis(132));
    }

    #[test]
    fn a_link_that_was_slow_is_fast_at_once_when_told() {
        let mut link = Link::new(Pcg64Mcg::seed_from_u64(1));
        let slow = Rule { bandwidth: Some(1_000), ..Rule::default() };
        while link.decide(&slow, Duration::ZERO, BYTES) != Fate::Sent(Passage::Overflowed, None) {}
        let fast = Rule { bandwidth: Some(1_000_000_000), ..Rule::default() };
        let at = due(link.decide(&fast, GAP, BYTES)).expect("the queue is empty at the new speed");
        assert!(at < GAP + Duration::from_millis(1), "{at:?}");
    }

    #[test]
    fn the_same_seed_decides_the_same() {
        let rule = Rule { loss: 0.3, duplicate: 0.3, corrupt: 0.3, reorder: 0.3, ..Rule::default() };
        assert_eq!(fates(&rule), fates(&rule));
    }

    #[test]
    fn bursts_lose_the_same_share_in_longer_rows() {
        for (loss, burst) in [(0.2, 5), (0.05, 20), (0.5, 2)] {
            let fates = fates(&Rule { loss, loss_burst: burst, ..Rule::default() });
            let lost = fates.iter().map(|(_, fate)| *fate == Fate::Lost).collect::<Vec<_>>();
            let share = lost.iter().filter(|&&lost| lost).count() as f64 / f64::from(PACKETS);
            // Neighbours share their fate, so there are as many independent ones as there are bursts and gaps.
            let deviation = (2.0 * f64::from(burst) * loss * (1.0 - loss) / f64::from(PACKETS)).sqrt();
            assert!((share - loss).abs() < 4.0 * deviation, "{share} of {loss}");
            let rows = lost.chunk_by(|a, b| a == b).filter(|row| row[0]).map(<[bool]>::len);
            let (count, total) = rows.fold((0, 0), |(count, total), row| (count + 1, total + row));
            let mean = total as f64 / f64::from(count);
            assert!((mean / f64::from(burst) - 1.0).abs() < 0.4, "{mean} of {burst}");
        }
        let rare = share(&Rule { loss: 0.9, loss_burst: 2, ..Rule::default() }, |fate| *fate == Fate::Lost);
        assert!((rare - 0.9).abs() < 0.02, "{rare}");
    }

    #[test]
    fn spreads_have_the_mean_and_the_deviation_they_were_asked_for() {
        let ms = Duration::from_millis;
        for spread in [Spread::Normal, Spread::Pareto] {
            let travels = travels(&Rule { delay: ms(100), jitter: ms(10), spread, ..Rule::default() });
            let ms = travels.iter().map(|travel| travel.as_secs_f64() * 1e3).collect::<Vec<_>>();
            let mean = ms.iter().sum::<f64>() / ms.len() as f64;
            let deviation = (ms.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / ms.len() as f64).sqrt();
            assert!((mean - 100.0).abs() < 1.0, "{spread:?}: mean {mean}");
            assert!((deviation - 10.0).abs() < 2.0, "{spread:?}: deviation {deviation}");
            let late = ms.iter().filter(|&&x| x > 140.0).count();
            assert_eq!(late > 10, spread == Spread::Pareto, "{spread:?}: {late} beyond four deviations");
        }
    }

    #[test]
    fn a_flapping_link_is_down_first_and_then_up() {
        let ms = Duration::from_millis;
        let rule = Rule { flap: Some(Flap { down: ms(200), up: ms(300) }), ..Rule::default() };
        let fates = fates(&rule);
        for (now, fate) in fates {
            let down = now.as_millis() % 500 < 200;
            assert_eq!(fate == Fate::Blocked, down, "at {now:?}");
        }
    }
}
