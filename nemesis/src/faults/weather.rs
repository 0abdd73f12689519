//! Weather is what links do to packets short of cutting them: losing some, holding them up, damaging them.
//!
//! Every kind of weather is a rule made from settings, and differs in nothing else. What several faults have put on one
//! link holds together ([`Rule::and`]); a heal takes its own part away and leaves the rest. Whether it bit is
//! measured from both ends of the links, before, during and after, and looked up in the switch's counters; what must be
//! seen follows from the rule, see [`measure`](super::measure). Clients' links stay as they are.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Receipt};

use super::hold::{Hold, Link};
use super::measure::{self, Measured};
use super::proof::Proof;
use super::shape::{all_links, is_among};
use super::{Aim, Fault, FaultError, Needs, links};
use crate::cluster::{Cluster, Links};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::Rule;
use crate::target::{Rng, Target};

/// The group that every weather belongs to.
const WEATHER: &str = "weather";
/// Links that are measured; with more, an evenly spaced sample of them is.
const MEASURED_MAX: usize = 4;
/// Links without the weather that are measured for comparison.
const CONTROLS_MAX: usize = 2;
/// A busy machine delays packets by itself, and by much more now than a moment later. So a measurement is repeated
/// until it agrees with the rule, this often at most; one that never does shows that the rule is not in force.
const ATTEMPTS_MAX: u32 = 3;
/// How long healed links are measured until they are as they were.
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// Which links of the targets have the weather.
pub(super) const DIRECTION: Knob = Knob {
    name: "direction",
    about: "whether what the targets send is hit, what they are sent, or both",
    range: Range::Word(&["both", "out", "in"]),
};

/// A fault that gives links a rule.
#[derive(Debug)]
pub(super) struct Weather {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What it can be set to, [`DIRECTION`] included.
    pub(super) knobs: &'static [Knob],
    pub(super) beyond_promise: Option<&'static str>,
    pub(super) rule: fn(&Knobs) -> Rule,
}

impl Fault for Weather {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn needs(&self) -> Needs {
        Needs::Links
    }

    fn targets(&self) -> &'static [Target] {
        &[Target::Leader, Target::All, Target::One, Target::Minority]
    }

    fn nodes_min(&self) -> u16 {
        2
    }

    fn group(&self) -> Option<&'static str> {
        Some(WEATHER)
    }

    fn beyond_promise(&self) -> Option<&'static str> {
        self.beyond_promise
    }

    fn knobs(&self) -> &'static [Knob] {
        self.knobs
    }

    fn inject(
        &self,
        cluster: &mut dyn Cluster,
        aim: &Aim<'_>,
        _rng: &mut Rng,
        hold: &mut Hold,
    ) -> Result<Receipt, FaultError> {
        let own = (self.rule)(aim.knobs);
        let all = all_links(&cluster.nodes()).collect::<Vec<_>>();
        let hit = hit(&all, aim.targets, aim.knobs.word(DIRECTION.name));
        let links = cluster.links().ok_or(FaultError::NoSwitch)?;
        let mut proof = Proof::default();
        if hit.is_empty() {
            proof.note("links", None, "the targets have no links to other nodes");
            return Ok(proof.skipped());
        }

        // A link that another fault has cut cannot be measured.
        let open = hit.iter().copied().filter(|&link| !links.rule(link).block).collect::<Vec<_>>();
        let measured = links::sample(open, MEASURED_MAX);
        let before = measure::before(links, &measured)?;
        for &link in &hit {
            // What holds is reckoned from what we asked for, not read back from where we wrote it.
            let rule = links.rule(link).and(own);
            hold.weather.entry(link).or_default().push(own);
            links.set(link, rule);
        }
        proof.note("links", None, show(&hit));
        if measured.is_empty() {
            proof.require(
                false,
                "probes",
                None,
                "another fault has cut all of these links; nothing can be seen",
            );
        }
        require_weather(links, &own, &before, &mut proof)?;
        require_control(links, &all, &hit, &own, &mut proof)?;
        Ok(proof.receipt())
    }

    fn heal(&self, cluster: &mut dyn Cluster, hold: &mut Hold, others: &Hold) -> Result<Receipt, FaultError> {
        let links = cluster.links().ok_or(FaultError::NoSwitch)?;
        let mut proof = Proof::default();
        let mut own = Rule::OPEN;
        let mut clear = Vec::new();
        for (link, rules) in std::mem::take(&mut hold.weather) {
            // The same on every link.
            own = rules.first().copied().unwrap_or(own);
            let rest = others.weather.get(&link).into_iter().flatten();
            let rest = rest.fold(Rule::OPEN, |rest, &rule| rest.and(rule));
            // Whether the link is cut is another fault's business.
            let rule = Rule { block: links.rule(link).block, ..rest };
            links.set(link, rule);
            proof.require(links.rule(link) == rule, "switch rules", None, format!("{link} is healed"));
            match rule == Rule::OPEN {
                true => clear.push(link),
                false => proof.note("nemesis", None, format!("{link} keeps what other faults do to it")),
            }
        }
        require_clear(links, &links::sample(clear, MEASURED_MAX), &own, &mut proof)?;
        Ok(proof.receipt())
    }
}

/// The probability that the knob `percent` is set to.
pub(super) fn share(knobs: &Knobs) -> f64 {
    knobs.number("percent") as f64 / 100.0
}

/// The links between the targets and all other nodes in this direction, those among the targets included.
fn hit(all: &[Link], targets: &[NodeId], direction: &str) -> BTreeSet<Link> {
    let (out, into) = (direction != "in", direction != "out");
    let is_hit = |link: &Link| (out && is_among(targets, link.from)) || (into && is_among(targets, link.to));
    all.iter().copied().filter(is_hit).collect()
}

/// Shows that the links do what they were told.
fn require_weather(
    links: &dyn Links,
    own: &Rule,
    before: &[Measured],
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let mut attempts = 0;
    let claims = loop {
        attempts += 1;
        let claims = measure::weather(links, own, before)?;
        if attempts == ATTEMPTS_MAX || claims.iter().all(|claim| claim.holds) {
            break claims;
        }
    };
    for claim in claims {
        proof.require(claim.holds, claim.source, None, claim.seen);
    }
    Ok(())
}

/// Shows that links that were not hit are as they were: the opposite directions first, as these are the ones that a
/// mistake would hit.
fn require_control(
    links: &dyn Links,
    all: &[Link],
    hit: &BTreeSet<Link>,
    own: &Rule,
    proof: &mut Proof,
) -> Result<(), FaultError> {
    let open = all.iter().copied().filter(|link| !hit.contains(link) && links.rule(*link) == Rule::OPEN);
    let (opposite, other): (Vec<_>, Vec<_>) = open.partition(|link| hit.contains(&link.reversed()));
    let mut controls = links::sample(opposite, CONTROLS_MAX);
    controls.extend(links::sample(other, CONTROLS_MAX - controls.len()));
    if controls.is_empty() {
        proof.note("links", None, "there is no link without weather to compare with");
    }
    require_clear(links, &controls, own, proof)
}

/// Shows that these links have no such weather, trying again until a deadline.
fn require_clear(links: &dyn Links, clear: &[Link], own: &Rule, proof: &mut Proof) -> Result<(), FaultError> {
    let deadline = Instant::now() + HEALED_WITHIN;
    let claims = loop {
        let claims = measure::clear(links, own, clear)?;
        if claims.iter().all(|claim| claim.holds) || Instant::now() >= deadline {
            break claims;
        }
        thread::sleep(Duration::from_millis(10));
    };
    for claim in claims {
        proof.require(claim.holds, claim.source, None, claim.seen);
    }
    Ok(())
}

fn show(links: &BTreeSet<Link>) -> String {
    links.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(targets: &[u16], direction: &str) -> String {
        let nodes = [1, 2, 3].map(NodeId);
        let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
        show(&hit(&all_links(&nodes).collect::<Vec<_>>(), &targets, direction))
    }

    #[test]
    fn the_direction_is_that_of_the_targets() {
        assert_eq!(hits(&[2], "out"), "n2→n1 n2→n3");
        assert_eq!(hits(&[2], "in"), "n1→n2 n3→n2");
        assert_eq!(hits(&[2], "both"), "n1→n2 n2→n1 n2→n3 n3→n2");
    }

    #[test]
    fn a_link_between_two_targets_is_hit_whatever_the_direction() {
        assert_eq!(hits(&[1, 2], "out"), "n1→n2 n1→n3 n2→n1 n2→n3");
        assert_eq!(hits(&[1, 2, 3], "in"), "n1→n2 n1→n3 n2→n1 n2→n3 n3→n1 n3→n2");
    }
}
