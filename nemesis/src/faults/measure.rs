//! What must be seen of a link's weather: bursts of datagrams beside the rule that they went through.
//!
//! The bounds follow from what is measured. Shares of packets are those of coin flips, so they may deviate by four
//! standard deviations of as many flips, which a sound link exceeds once in fifteen thousand times; bursts are so long
//! that "none at all" lies outside. Travel times may exceed the rule's by what the machine needed for a packet just
//! before, and may not fall short of it.

use std::time::Duration;

use super::FaultError;
use super::hold::Link;
use crate::cluster::Links;
use crate::net::{Burst, LinkCounters, Rule, Sighting, Spread};

/// Standard deviations within which a share must be.
const DEVIATIONS: f64 = 4.0;
/// Datagrams a burst, at least and at most.
const COUNT_RANGE: std::ops::RangeInclusive<u32> = 200..=5000;
/// How many hits a burst must have coming, so that zero is beyond [`DEVIATIONS`]: 20 − 4·√20 is above 2.
const HITS: f64 = 20.0;
/// How far apart datagrams are sent: closer than any reordering, far enough for the switch to serve others meanwhile.
const GAP: Duration = Duration::from_micros(200);
/// A datagram with headers.
const BYTES: usize = 60;
/// When a packet of a busy machine has arrived at the latest, if it does.
const LATE: Duration = Duration::from_millis(80);
/// What the machine's own delay may grow by between two bursts.
const UNEASE: Duration = Duration::from_millis(10);

/// A link with what its state was before.
pub(super) struct Measured {
    link: Link,
    rule: Rule,
    travel: Duration,
}

/// Something that was seen, and whether it shows what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) holds: bool,
    pub(super) source: String,
    pub(super) seen: String,
}

/// Looks at links before they get their weather.
pub(super) fn before(links: &dyn Links, measured: &[Link]) -> Result<Vec<Measured>, FaultError> {
    let burst = Burst { count: 50, gap: GAP, bytes: BYTES, quiet: LATE };
    let seen = links.burst(measured, &burst)?.into_iter();
    let state = |(&link, seen): (&Link, Sighting)| {
        let rule = links.rule(link);
        // The rule's own delay is not the machine's.
        let travel = seen.travel_mean().unwrap_or_default().saturating_sub(rule.delay + rule.jitter);
        Measured { link, rule, travel }
    };
    Ok(measured.iter().zip(seen).map(state).collect())
}

/// What is seen of links that have `own` weather on top of what they had before.
pub(super) fn weather(links: &dyn Links, own: &Rule, before: &[Measured]) -> Result<Vec<Claim>, FaultError> {
    let Some(first) = before.first() else { return Ok(Vec::new()) };
    let burst = burst_for(&first.rule.and(*own));
    let then = before.iter().map(|measured| links.counters(measured.link)).collect::<Vec<_>>();
    let paths = before.iter().map(|measured| measured.link).collect::<Vec<_>>();
    let seen = links.burst(&paths, &burst)?;
    let mut claims = Vec::new();
    for ((measured, seen), then) in before.iter().zip(&seen).zip(&then) {
        let rule = measured.rule.and(*own);
        let counted = since(then, &links.counters(measured.link));
        claims.extend(probes(&rule, seen, measured.travel).into_iter().map(|(holds, seen)| Claim {
            holds,
            source: format!("probes {}", measured.link),
            seen,
        }));
        let (holds, seen) = counters(&rule, &counted);
        claims.push(Claim { holds, source: format!("switch counters {}", measured.link), seen });
    }
    Ok(claims)
}

/// What is seen of links that have none of `own` weather.
pub(super) fn clear(links: &dyn Links, own: &Rule, clear: &[Link]) -> Result<Vec<Claim>, FaultError> {
    let burst = burst_for(own);
    let seen = links.burst(clear, &burst)?;
    let claims = clear.iter().zip(&seen).map(|(link, seen)| {
        let (holds, seen) = is_clear(own, seen);
        Claim { holds, source: format!("probes {link}, no such weather"), seen }
    });
    Ok(claims.collect())
}

/// A burst that shows this rule.
fn burst_for(rule: &Rule) -> Burst {
    let quiet =
        rule.delay + tail(rule) + LATE + if rule.reorder > 0.0 { rule.reorder_gap } else { Duration::ZERO };
    if let Some(bits_per_s) = rule.bandwidth {
        // A third of a second's worth, within what may queue before the link, and enough to tell a rate.
        let bytes = 1000;
        let count = (bits_per_s / 8 / 3 / bytes).clamp(16, 100);
        let quiet = quiet + Duration::from_secs_f64(bytes as f64 * 16.0 / bits_per_s.max(1) as f64);
        let count = u32::try_from(count).expect("it was clamped");
        return Burst { count, gap: Duration::ZERO, bytes: 1000, quiet };
    }
    if let Some(flap) = rule.flap {
        let count = 100;
        return Burst { count, gap: (flap.down + flap.up) / count, bytes: BYTES, quiet };
    }
    let shares = [rule.loss, rule.duplicate, rule.corrupt, rule.alter, rule.reorder];
    let rarest = shares.into_iter().filter(|&share| share > 0.0).reduce(f64::min);
    let count = rarest.map_or(0.0, |share| HITS * clumping(rule) / share);
    let count = (count as u32).clamp(*COUNT_RANGE.start(), *COUNT_RANGE.end());
    Burst { count, gap: GAP, bytes: BYTES, quiet }
}

/// By how much a packet may be later than the mean; of the spreads that have no end, all but one in ten thousand are not.
fn tail(rule: &Rule) -> Duration {
    match rule.spread {
        Spread::Uniform => rule.jitter,
        Spread::Normal => rule.jitter * 4,
        Spread::Pareto => rule.jitter * 20,
    }
}

/// By how much the variance grows because losses come in bursts: so many flips count as one.
fn clumping(rule: &Rule) -> f64 {
    if rule.loss_burst > 1 { 2.0 * f64::from(rule.loss_burst) } else { 1.0 }
}

/// What the datagrams show, each with what was expected.
fn probes(rule: &Rule, seen: &Sighting, machine: Duration) -> Vec<(bool, String)> {
    if let Some(bits_per_s) = rule.bandwidth {
        return vec![rate(bits_per_s, seen)];
    }
    if let Some(flap) = rule.flap {
        let down = flap.down.as_secs_f64() / (flap.down + flap.up).as_secs_f64();
        let lost = f64::from(seen.lost()) / f64::from(seen.sent.max(1));
        // A period may begin anywhere in the burst, and datagrams of a busy machine leave in clumps.
        let holds = seen.lost() > 0 && !seen.arrivals.is_empty() && (lost - down).abs() < 0.15 + rule.loss;
        let text =
            format!("lost {} of {}, down for {:.0} % of a period", seen.lost(), seen.sent, down * 100.0);
        return vec![(holds, text)];
    }
    let mut claims = Vec::new();
    let sent = f64::from(seen.sent);
    let arrives_whole = (1.0 - rule.loss) * (1.0 - rule.corrupt);
    if rule.loss > 0.0 || rule.corrupt > 0.0 {
        // A copy may arrive where the first was damaged.
        let damaged = rule.corrupt * (1.0 - rule.duplicate + rule.duplicate * rule.corrupt);
        let share = 1.0 - (1.0 - rule.loss) * (1.0 - damaged);
        let (low, high) = bounds(share, sent, clumping(rule));
        let lost = f64::from(seen.lost());
        claims.push((
            lost > 0.0 && (low..=high).contains(&lost),
            format!("lost {lost} of {sent}, asked {:.1} % ({low:.0} to {high:.0})", share * 100.0),
        ));
    }
    // An altered copy cannot be told from an altered original, so with both only the counters tell.
    if rule.duplicate > 0.0 && rule.alter <= 0.0 {
        let share = arrives_whole * rule.duplicate * (1.0 - rule.corrupt);
        let (low, high) = bounds(share, sent, clumping(rule));
        let copies = f64::from(seen.copies());
        claims.push((
            copies > 0.0 && (low..=high).contains(&copies),
            format!("{copies} of {sent} came twice, asked {:.1} % ({low:.0} to {high:.0})", share * 100.0),
        ));
    }
    if rule.alter > 0.0 && rule.duplicate <= 0.0 {
        let (low, high) = bounds(arrives_whole * rule.alter, sent, clumping(rule));
        let altered = f64::from(seen.altered);
        claims.push((
            altered > 0.0 && (low..=high).contains(&altered),
            format!(
                "{altered} of {sent} came altered, asked {:.1} % ({low:.0} to {high:.0})",
                rule.alter * 100.0
            ),
        ));
    }
    if rule.reorder > 0.0 && rule.jitter.is_zero() && rule.duplicate <= 0.0 {
        let (overtaken, judged) = seen.overtaken(rule.reorder_gap);
        let (low, high) = bounds(rule.reorder, f64::from(judged), clumping(rule));
        claims.push((
            overtaken > 0 && (low..=high).contains(&f64::from(overtaken)),
            format!(
                "{overtaken} of {judged} were overtaken, asked {:.1} % ({low:.0} to {high:.0})",
                rule.reorder * 100.0
            ),
        ));
    }
    if !rule.delay.is_zero() || !rule.jitter.is_zero() {
        claims.push(delay(rule, seen, machine));
    }
    claims
}

/// How many of `count` may be hit, each with this probability.
fn bounds(share: f64, count: f64, clumping: f64) -> (f64, f64) {
    let deviation = (share * (1.0 - share) * count * clumping).sqrt();
    // Half a packet, as counts are whole.
    let margin = DEVIATIONS * deviation + 0.5;
    ((share * count - margin).max(0.0), share * count + margin)
}

fn delay(rule: &Rule, seen: &Sighting, machine: Duration) -> (bool, String) {
    let Some(mean) = seen.travel_mean() else { return (false, "nothing arrived".to_owned()) };
    let count = seen.arrivals.len() as f64;
    let deviation = match rule.spread {
        Spread::Uniform => rule.jitter.as_secs_f64() / 3.0_f64.sqrt(),
        Spread::Normal | Spread::Pareto => rule.jitter.as_secs_f64(),
    };
    let sampling = Duration::from_secs_f64(DEVIATIONS * deviation / count.sqrt());
    let mut longest = rule.delay + sampling + machine + UNEASE + rule.delay / 10;
    if rule.fifo {
        // Each waits for the slowest before it.
        longest += tail(rule);
    } else if rule.jitter > rule.delay / 4 {
        // What would arrive before it was sent arrives at once, which lifts the mean.
        longest += rule.jitter;
    }
    longest += rule.reorder_gap.mul_f64(rule.reorder);
    let shortest = rule.delay.saturating_sub(sampling);
    let (order, _) = seen.overtaken(Duration::ZERO);
    let holds = (shortest..=longest).contains(&mean) && (!rule.fifo || rule.reorder > 0.0 || order == 0);
    let text = format!(
        "travelled {:.1} ms on average, asked {} ms ± {} ({:.1} to {:.1}), {order} overtaken; machine {:.1} ms",
        ms(mean),
        rule.delay.as_millis(),
        rule.jitter.as_millis(),
        ms(shortest),
        ms(longest),
        ms(machine)
    );
    (holds, text)
}

/// Nodes share the link with the probes, so these may be slower than the link, and not faster. Arrivals that a busy
/// machine saw late stand closer together than they came, by a tenth at most, or it is measured again.
fn rate(bits_per_s: u64, seen: &Sighting) -> (bool, String) {
    let asked = bits_per_s as f64 / 1000.0;
    match seen.rate() {
        Some(rate) => {
            let kbit = rate / 1000.0;
            let text = format!(
                "{} of {} arrived at {kbit:.0} kbit/s, asked {asked:.0}",
                seen.arrivals.len(),
                seen.sent
            );
            (kbit <= asked * 1.1, text)
        }
        None => (false, format!("{} of {} arrived, too few for a rate", seen.arrivals.len(), seen.sent)),
    }
}

/// What the switch has counted meanwhile, of probes and of the nodes' own packets.
fn counters(rule: &Rule, counted: &LinkCounters) -> (bool, String) {
    let passed = counted.seen.saturating_sub(counted.blocked + counted.lost);
    let parts = [
        ("lost", rule.loss, counted.lost, passed + counted.lost),
        ("twice", rule.duplicate, counted.duplicated, passed),
        ("corrupted", rule.corrupt, counted.corrupted, passed),
        ("altered", rule.alter, counted.altered, passed),
        ("held back", rule.reorder, counted.reordered, passed),
    ];
    let mut holds = counted.seen > 0;
    let mut text = vec![format!("saw {}", counted.seen)];
    for (word, share, hits, of) in parts.into_iter().filter(|(_, share, ..)| *share > 0.0) {
        holds &= hits > 0;
        let percent = hits as f64 * 100.0 / (of.max(1)) as f64;
        text.push(format!("{word} {hits} ({percent:.1} %, asked {:.1} %)", share * 100.0));
    }
    if rule.flap.is_some() {
        holds &= counted.blocked > 0;
        text.push(format!("dropped {} while down", counted.blocked));
    }
    if !rule.delay.is_zero() || !rule.jitter.is_zero() || rule.bandwidth.is_some() {
        holds &= counted.delayed > 0;
        text.push(format!("delayed {}", counted.delayed));
    }
    if rule.bandwidth.is_some() {
        text.push(format!(
            "delivered {} bytes, queue overflowed {} times",
            counted.delivered_bytes, counted.overflowed
        ));
    }
    (holds, text.join(", "))
}

/// Whether a link shows nothing of this weather.
fn is_clear(own: &Rule, seen: &Sighting) -> (bool, String) {
    let (overtaken, judged) = seen.overtaken(own.reorder_gap);
    let median = seen.travel_median().unwrap_or(Duration::MAX);
    let rate_kbit = seen.rate().unwrap_or(0.0) / 1000.0;
    let mut holds = seen.lost() == 0 && seen.copies() == 0 && seen.altered == 0;
    // The kernel may hand a packet over on another processor than its neighbours, and now and then swaps two.
    holds &= own.reorder <= 0.0 || overtaken * 100 <= judged;
    holds &= own.delay.is_zero() || median < (own.delay / 2).max(UNEASE / 2);
    holds &= own.bandwidth.is_none_or(|bits_per_s| rate_kbit * 1000.0 > bits_per_s as f64 * 2.0);
    let mut text = format!(
        "lost {} of {}, {} twice, {} altered, {overtaken} overtaken",
        seen.lost(),
        seen.sent,
        seen.copies(),
        seen.altered
    );
    if median < Duration::MAX {
        text += &format!(", half within {:.1} ms", ms(median));
    }
    if own.bandwidth.is_some() {
        text += &format!(", {rate_kbit:.0} kbit/s");
    }
    (holds, text)
}

fn since(then: &LinkCounters, now: &LinkCounters) -> LinkCounters {
    LinkCounters {
        seen: now.seen - then.seen,
        delivered_bytes: now.delivered_bytes - then.delivered_bytes,
        blocked: now.blocked - then.blocked,
        lost: now.lost - then.lost,
        duplicated: now.duplicated - then.duplicated,
        reordered: now.reordered - then.reordered,
        corrupted: now.corrupted - then.corrupted,
        altered: now.altered - then.altered,
        delayed: now.delayed - then.delayed,
        overflowed: now.overflowed - then.overflowed,
        ..LinkCounters::default()
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Arrival, Flap};

    /// A burst of which the datagrams that are not `lost` arrive after this long.
    fn seen(burst: &Burst, lost: impl Fn(u32) -> bool, travel: impl Fn(u32) -> Duration) -> Sighting {
        let arrive = |sequence: u32| {
            let sent = burst.gap * sequence;
            Arrival { sequence, sent, at: sent + travel(sequence) }
        };
        let mut arrivals = (0..burst.count).filter(|&nth| !lost(nth)).map(arrive).collect::<Vec<_>>();
        arrivals.sort_by_key(|arrival| arrival.at);
        Sighting { sent: burst.count, bytes: burst.bytes, arrivals, altered: 0 }
    }

    fn holds(rule: &Rule, seen: &Sighting) -> bool {
        probes(rule, seen, Duration::ZERO).iter().all(|(holds, _)| *holds)
    }

    const SOON: Duration = Duration::from_micros(50);

    #[test]
    fn a_link_without_weather_shows_none() {
        let ms = Duration::from_millis;
        let mut rules = vec![
            Rule { delay: ms(10), ..Rule::OPEN },
            Rule { bandwidth: Some(20_000_000), ..Rule::OPEN },
            Rule { flap: Some(Flap { down: ms(10), up: ms(90) }), ..Rule::OPEN },
        ];
        for percent in 1..=100 {
            let share = f64::from(percent) / 100.0;
            rules.push(Rule { loss: share, ..Rule::OPEN });
            rules.push(Rule { loss: share, loss_burst: 10, ..Rule::OPEN });
            rules.push(Rule { duplicate: share, ..Rule::OPEN });
            rules.push(Rule { corrupt: share, ..Rule::OPEN });
            rules.push(Rule { alter: share, ..Rule::OPEN });
            rules.push(Rule { reorder: share, ..Rule::OPEN });
        }
        for rule in rules {
            let clear = seen(&burst_for(&rule), |_| false, |_| SOON);
            assert!(!holds(&rule, &clear), "{rule:?}");
            assert!(!counters(&rule, &LinkCounters { seen: 1000, ..LinkCounters::default() }).0, "{rule:?}");
        }
    }

    #[test]
    fn a_share_that_is_met_shows_and_half_of_it_does_not() {
        let rule = Rule { loss: 0.2, ..Rule::OPEN };
        let burst = burst_for(&rule);
        assert_eq!(burst.count, 200);
        assert!(holds(&rule, &seen(&burst, |nth| nth % 5 == 0, |_| SOON)));
        assert!(!holds(&rule, &seen(&burst, |nth| nth % 20 == 0, |_| SOON)));
        assert!(!holds(&rule, &seen(&burst, |_| true, |_| SOON)), "a dead link is not a lossy one");
    }

    #[test]
    fn travel_times_may_not_be_short_and_may_be_long_by_what_the_machine_needs() {
        let ms = Duration::from_millis;
        let rule = Rule { delay: ms(50), ..Rule::OPEN };
        let after = |travel| seen(&burst_for(&rule), |_| false, move |_| travel);
        assert!(holds(&rule, &after(ms(50))));
        assert!(!holds(&rule, &after(ms(49))));
        assert!(!holds(&rule, &after(ms(70))));
        assert!(probes(&rule, &after(ms(70)), ms(15)).iter().all(|(holds, _)| *holds));
    }

    #[test]
    fn a_link_is_clear_only_without_a_trace() {
        let ms = Duration::from_millis;
        let check = |own: Rule, seen: &Sighting| is_clear(&own, seen).0;
        let loss = Rule { loss: 0.01, ..Rule::OPEN };
        assert!(check(loss, &seen(&burst_for(&loss), |_| false, |_| SOON)));
        assert!(!check(loss, &seen(&burst_for(&loss), |nth| nth == 700, |_| SOON)));
        let slow = Rule { delay: ms(10), ..Rule::OPEN };
        assert!(!check(slow, &seen(&burst_for(&slow), |_| false, |_| ms(10))));
        let narrow = Rule { bandwidth: Some(1_000_000), ..Rule::OPEN };
        let paced = |per: Duration| seen(&burst_for(&narrow), |_| false, move |nth| per * nth);
        assert!(!check(narrow, &paced(ms(8))), "1000 bytes in 8 ms are 1 Mbit/s");
        assert!(check(narrow, &paced(Duration::from_micros(80))));
    }
}
