//! Cuts links and restores them, with evidence from the switch's counters and from datagrams of our own.
//!
//! A cut is shown from three sides: a probe across it does not arrive, the switch counts that probe as blocked,
//! and, when the cut is healed, the switch has delivered nothing across it meanwhile. A probe along a link that is
//! *not* cut arrives: otherwise a network that is dead altogether, or a probe that never works, would look like a
//! perfect partition.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::Receipt;

use super::FaultError;
use super::hold::{Hold, Link};
use super::proof::Proof;
use super::shape::{all_links, client_links};
use crate::cluster::{Cluster, Links};
use crate::net::{LinkCounters, Rule};

/// Cut links that are probed; with more, an evenly spaced sample of them is. Each costs [`SILENCE`].
const SILENT_PROBES_MAX: usize = 8;
/// How long a probe is waited for that should not arrive. A healthy link takes far less than a millisecond.
const SILENCE: Duration = Duration::from_millis(30);
/// Links not cut that are probed for comparison.
const CONTROL_PROBES_MAX: usize = 4;
/// How long a probe is waited for that should arrive. Generous, as a busy machine may be late.
const ARRIVAL: Duration = Duration::from_millis(250);
/// How long healed links are probed until every one has let a probe through.
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// Blocks the links and looks whether they are.
pub(super) fn cut(
    cluster: &mut dyn Cluster,
    cuts: &BTreeSet<Link>,
    hold: &mut Hold,
) -> Result<Receipt, FaultError> {
    let everything = all_links(&cluster.nodes()).chain(client_links(&cluster.nodes())).collect::<Vec<_>>();
    let links = cluster.links().ok_or(FaultError::NoSwitch)?;
    let mut proof = Proof::default();
    // Links that another fault has cut are held as well: they stay cut when that one is healed.
    if cuts.is_empty() {
        proof.note("links", None, "no link to cut between targets and others");
        return Ok(proof.skipped());
    }

    let before = cuts.iter().map(|&link| (link, counters(links, link))).collect::<Vec<_>>();
    for &(link, counted) in &before {
        hold.cut.insert(link, counted);
        set_block(links, link, true);
        // The cut is in force, and what passed before it has been counted. From here on nothing may pass.
        hold.cut.insert(link, counters(links, link));
    }

    let probed = sample(cuts.iter().copied().collect(), SILENT_PROBES_MAX);
    for &link in &probed {
        let arrived = links.probe(link, SILENCE)?;
        proof.require(!arrived, format!("probe {link}"), None, outcome(arrived, SILENCE));
    }
    let controls = controls(links, everything.into_iter(), cuts);
    probe_controls(links, controls, &mut proof)?;

    let deadline = Instant::now() + ARRIVAL;
    for (link, before) in before {
        // Nodes may be silent for the moment, so only the links that we probed must have blocked something.
        let must_block = probed.contains(&link);
        let mut now = counters(links, link);
        // On a busy machine the switch may come to a probe only after we gave it up.
        while must_block && now.blocked == before.blocked && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
            now = counters(links, link);
        }
        let shows = now.blocked > before.blocked || !must_block;
        let seen = format!("blocked {} → {}", before.blocked, now.blocked);
        proof.require(shows, counter_source(link), None, seen);
        // The heal reports what was blocked of the nodes' own packets, not of our probes.
        hold.cut.entry(link).and_modify(|cut| cut.blocked = now.blocked);
    }
    Ok(proof.receipt())
}

/// Opens the links again that no other fault keeps cut, and looks whether they are open.
pub(super) fn restore(
    cluster: &mut dyn Cluster,
    hold: &mut Hold,
    others: &Hold,
) -> Result<Receipt, FaultError> {
    let links = cluster.links().ok_or(FaultError::NoSwitch)?;
    let mut proof = Proof::default();
    let mut opened = Vec::new();
    for (link, then) in std::mem::take(&mut hold.cut) {
        let now = counters(links, link);
        let leaked = now.delivered.saturating_sub(then.delivered);
        let blocked = now.blocked.saturating_sub(then.blocked);
        let seen = format!("blocked {blocked}, delivered {leaked} while cut");
        proof.require(leaked == 0, counter_source(link), None, seen);
        if others.cut.contains_key(&link) {
            proof.note("nemesis", None, format!("{link} stays cut for another fault"));
            continue;
        }
        set_block(links, link, false);
        opened.push(link);
    }
    require_open(links, &opened, &mut proof)?;
    Ok(proof.receipt())
}

/// Shows that every one of these links carries datagrams, trying again until a deadline.
pub(super) fn require_open(
    links: &mut dyn Links,
    opened: &[Link],
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let deadline = Instant::now() + HEALED_WITHIN;
    for &link in opened {
        let mut arrived = false;
        // Each link gets at least one try, also when the ones before it used up the time.
        loop {
            let wait = deadline.saturating_duration_since(Instant::now()).clamp(SILENCE, ARRIVAL);
            arrived |= links.probe(link, wait)?;
            if arrived || Instant::now() >= deadline {
                break;
            }
        }
        let seen =
            if arrived { "arrived".to_owned() } else { format!("nothing arrived within {HEALED_WITHIN:?}") };
        proof.require(arrived && !is_blocked(links, link), format!("probe {link}"), None, seen);
    }
    Ok(())
}

fn probe_controls(links: &mut dyn Links, controls: Vec<Link>, proof: &mut Proof) -> Result<(), FaultError> {
    if controls.is_empty() {
        proof.note("links", None, "every link is cut; there is none to compare with");
    }
    for link in controls {
        let arrived = links.probe(link, ARRIVAL)?;
        proof.require(arrived, format!("probe {link}, not cut"), None, outcome(arrived, ARRIVAL));
        if !arrived {
            break;
        }
    }
    Ok(())
}

/// Open links to compare with: the opposite direction of a cut first, as it is the one that a mistake would cut.
fn controls(links: &dyn Links, all: impl Iterator<Item = Link>, cuts: &BTreeSet<Link>) -> Vec<Link> {
    let open = all.filter(|&link| !cuts.contains(&link) && !is_blocked(links, link));
    let (opposite, other): (Vec<_>, Vec<_>) = open.partition(|link| cuts.contains(&link.reversed()));
    let mut chosen = sample(opposite, CONTROL_PROBES_MAX);
    chosen.extend(sample(other, CONTROL_PROBES_MAX - chosen.len()));
    chosen
}

/// At most `count` of them, evenly spaced, so that every part of the cluster is looked at.
pub(super) fn sample<T: Copy>(all: Vec<T>, count: usize) -> Vec<T> {
    if all.len() <= count {
        return all;
    }
    (0..count).map(|nth| all[nth * all.len() / count]).collect()
}

fn is_blocked(links: &dyn Links, link: Link) -> bool {
    links.rule(link).block
}

/// Changes only whether the link is cut; the weather on it is another fault's.
fn set_block(links: &mut dyn Links, link: Link, block: bool) {
    let mut rule: Rule = links.rule(link);
    rule.block = block;
    links.set(link, rule);
}

fn counters(links: &dyn Links, link: Link) -> LinkCounters {
    links.counters(link)
}

fn outcome(arrived: bool, wait: Duration) -> String {
    if arrived { "arrived".to_owned() } else { format!("did not arrive within {wait:?}") }
}

fn counter_source(link: Link) -> String {
    format!("switch counters {link}")
}
