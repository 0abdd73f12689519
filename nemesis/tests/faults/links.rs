//! Partitions on links in memory: what is cut, what is seen, what is left.

use std::time::{Duration, Instant};

use checkers::history::{NodeId, Outcome};
use nemesis::cluster::{Cluster, Links};
use nemesis::faults::hold::{Hold, Link};
use nemesis::faults::{FAULTS, Fault, find, heal};
use nemesis::knobs::Knobs;
use nemesis::net::Rule;

use crate::cluster::{Flaw, TestCluster, assert_outcome, healed, healed_beside, injected, injected_with};

fn link(from: u16, to: u16) -> Link {
    Link::new(NodeId(from), NodeId(to))
}

/// Every fault that cuts links.
fn partitions() -> impl Iterator<Item = &'static dyn Fault> {
    let hub = find("partition-hub").expect("it exists");
    FAULTS.iter().copied().filter(|fault| fault.group() == Some("partitions")).chain([hub])
}

/// Every fault that does something to packets.
fn weather() -> impl Iterator<Item = &'static dyn Fault> {
    FAULTS.iter().copied().filter(|fault| fault.group() == Some("weather"))
}

#[test]
fn a_partition_cuts_its_links_and_no_others() {
    let mut cluster = TestCluster::new(3);
    let (receipt, mut hold) = injected(&mut cluster, "partition", &[2]);
    assert_eq!(cluster.cuts(), "n1→n2 n2→n1 n2→n3 n3→n2");
    assert_outcome(&receipt, Outcome::Installed, "probe n2→n3: did not arrive within 30ms");
    assert_outcome(&receipt, Outcome::Installed, "switch counters n2→n3: blocked 0 → 1");
    assert_outcome(&receipt, Outcome::Installed, "probe n1→n3, not cut: arrived");

    cluster.traffic(link(2, 3));
    let receipt = healed(&mut cluster, "partition", &mut hold);
    assert_eq!(cluster.cuts(), "");
    assert_outcome(&receipt, Outcome::Installed, "switch counters n2→n3: blocked 1, delivered 0 while cut");
    assert_outcome(&receipt, Outcome::Installed, "probe n2→n3: arrived");
}

#[test]
fn every_partition_of_every_size_is_proven_in_time_and_heals_without_a_trace() {
    for fault in partitions() {
        for size in [2, 3, 4, 5, 7].into_iter().filter(|&size| size >= fault.nodes_min()) {
            let mut cluster = TestCluster::new(size);
            let began = Instant::now();
            let (receipt, mut hold) = injected(&mut cluster, fault.name(), &[1]);
            let took = began.elapsed();
            assert_outcome(&receipt, Outcome::Installed, "blocked 0 → 1");
            // Eight waits of 30 ms for each cut; the rest is for a machine that has other things to do.
            let limit_ms = if fault.knobs().is_empty() { 500 } else { 2000 };
            assert!(took < Duration::from_millis(limit_ms), "{} of {size} took {took:?}", fault.name());
            assert_eq!(cluster.cuts().split(' ').count(), hold.cut.len());

            let receipt = healed(&mut cluster, fault.name(), &mut hold);
            assert_outcome(&receipt, Outcome::Installed, "arrived");
            assert_eq!(cluster.cuts(), "", "{} of {size}", fault.name());
            assert!(hold.is_empty());
        }
    }
}

#[test]
fn one_way_leaves_the_other_way_open() {
    let mut cluster = TestCluster::new(3);
    let (receipt, _) = injected(&mut cluster, "partition-one-way", &[1]);
    assert_eq!(cluster.cuts(), "n1→n2 n1→n3");
    assert_outcome(&receipt, Outcome::Installed, "probe n2→n1, not cut: arrived");
    assert_outcome(&receipt, Outcome::Installed, "probe n3→n1, not cut: arrived");
}

#[test]
fn a_cut_that_does_nothing_is_indeterminate() {
    for fault in partitions() {
        let mut cluster = TestCluster::new(5).with(Flaw::CutIgnored);
        let (receipt, _) = injected(&mut cluster, fault.name(), &[1]);
        assert_outcome(&receipt, Outcome::Indeterminate, "blocked 0 → 0");
    }
}

#[test]
fn a_cut_that_leaks_in_one_direction_is_indeterminate() {
    let mut cluster = TestCluster::new(3).with(Flaw::CutLeaksUpwards);
    let (receipt, _) = injected(&mut cluster, "partition", &[2]);
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n2→n3: arrived");
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n3→n2: did not arrive");
}

#[test]
fn a_leak_that_no_probe_saw_is_noticed_at_the_heal() {
    let mut cluster = TestCluster::new(5);
    let (receipt, mut hold) = injected(&mut cluster, "partition", &[1, 2]);
    assert_eq!(receipt.outcome, Outcome::Installed);
    cluster.flaw = Flaw::CutLeaksUpwards;
    cluster.traffic(link(2, 5));
    cluster.flaw = Flaw::None;
    let receipt = healed(&mut cluster, "partition", &mut hold);
    assert_outcome(
        &receipt,
        Outcome::Indeterminate,
        "switch counters n2→n5: blocked 0, delivered 1 while cut",
    );
}

#[test]
fn a_leak_while_the_cut_is_being_proven_is_noticed_at_the_heal() {
    let mut cluster = TestCluster::new(3).with(Flaw::CutLeaksWhileProbed);
    let (_, mut hold) = injected(&mut cluster, "partition", &[2]);
    cluster.flaw = Flaw::None;
    let receipt = healed(&mut cluster, "partition", &mut hold);
    let leaked = receipt.evidence.iter().find(|evidence| evidence.source == "switch counters n3→n2");
    assert_ne!(leaked.expect("every cut link is counted").seen, "blocked 0, delivered 0 while cut");
    assert_eq!(receipt.outcome, Outcome::Indeterminate);
}

#[test]
fn a_dead_network_is_no_partition() {
    let mut cluster = TestCluster::new(3).with(Flaw::NetworkDead);
    let (receipt, _) = injected(&mut cluster, "partition", &[2]);
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n1→n3, not cut: did not arrive within 250ms");
}

#[test]
fn a_heal_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(2).with(Flaw::OpenIgnored);
    let (_, mut hold) = injected(&mut cluster, "partition", &[1]);
    let receipt = healed(&mut cluster, "partition", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n1→n2: nothing arrived within 2s");
}

#[test]
fn a_link_cut_twice_opens_with_the_second_heal() {
    let mut cluster = TestCluster::new(3);
    let (_, mut first) = injected(&mut cluster, "partition", &[1]);
    let (receipt, mut second) = injected(&mut cluster, "partition", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "probe n1→harness, not cut: arrived");
    assert_eq!(cluster.cuts(), "n1→n2 n1→n3 n2→n1 n2→n3 n3→n1 n3→n2");

    let receipt = healed_beside(&mut cluster, "partition", &mut first, &second);
    assert_outcome(&receipt, Outcome::Installed, "n1→n2 stays cut for another fault");
    assert_eq!(cluster.cuts(), "n1→n2 n2→n1 n2→n3 n3→n2");
    healed(&mut cluster, "partition", &mut second);
    assert_eq!(cluster.cuts(), "");
}

#[test]
fn a_cut_leaves_the_weather_of_a_link_as_it_was() {
    let mut cluster = TestCluster::new(2);
    let weather = Rule { delay: Duration::from_millis(5), ..Rule::default() };
    cluster.set(link(1, 2), weather);
    let (_, mut hold) = injected(&mut cluster, "partition", &[1]);
    assert_eq!(cluster.rule(link(1, 2)), Rule { block: true, ..weather });
    healed(&mut cluster, "partition", &mut hold);
    assert_eq!(cluster.rule(link(1, 2)), weather);
    heal::everything(&mut cluster).expect("nothing is refused");
    assert_eq!(cluster.cuts(), "", "the final heal clears the sky");
}

#[test]
fn cutting_nothing_is_skipped() {
    let mut cluster = TestCluster::new(3);
    let (receipt, _) = injected(&mut cluster, "partition", &[1, 2, 3]);
    assert_outcome(&receipt, Outcome::Skipped, "no link to cut between targets and others");
}

#[test]
fn what_was_cut_already_stays_cut_when_the_first_fault_is_healed() {
    let mut cluster = TestCluster::new(3);
    let (_, mut first) = injected(&mut cluster, "partition", &[1]);
    let (receipt, second) = injected(&mut cluster, "partition-one-way", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "did not arrive");
    find("partition").expect("it exists").heal(&mut cluster, &mut first, &second).expect("it is up");
    assert_eq!(cluster.cuts(), "n1→n2 n1→n3");
}

#[test]
fn weather_that_does_nothing_is_indeterminate() {
    for fault in weather() {
        let mut cluster = TestCluster::new(3);
        let (receipt, hold) = injected(&mut cluster, fault.name(), &[1]);
        assert_outcome(&receipt, Outcome::Indeterminate, "probes n");
        assert!(!hold.weather.is_empty(), "{}", fault.name());
    }
}

#[test]
fn weather_on_links_that_another_fault_has_cut_is_not_seen() {
    let mut cluster = TestCluster::new(2);
    let (_, _cut) = injected(&mut cluster, "partition", &[1]);
    let (receipt, _) = injected(&mut cluster, "loss", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "another fault has cut all of these links");
}

#[test]
fn two_weathers_on_a_link_hold_together_and_heal_apart() {
    let mut cluster = TestCluster::new(2);
    let set = |text: &[(&str, &str)], name: &str| {
        let mut knobs = Knobs::default();
        let declared = find(name).expect("it exists").knobs();
        text.iter().for_each(|(knob, value)| knobs.set(declared, knob, value).expect("in range"));
        knobs
    };
    let loss = set(&[("percent", "50"), ("direction", "out")], "loss");
    let (_, mut first) = injected_with(&mut cluster, "loss", &[1], &loss);
    let delay = set(&[("delay_ms", "20"), ("jitter_ms", "0"), ("direction", "out")], "delay");
    let (_, mut second) = injected_with(&mut cluster, "delay", &[1], &delay);
    let (_, mut third) = injected_with(&mut cluster, "loss", &[1], &loss);
    let rule = cluster.rule(link(1, 2));
    assert_eq!((rule.loss, rule.delay), (0.75, Duration::from_millis(20)));

    let others = Hold::union([&second, &third]);
    let receipt = healed_beside(&mut cluster, "loss", &mut first, &others);
    assert_outcome(&receipt, Outcome::Installed, "n1→n2 keeps what other faults do to it");
    let rule = cluster.rule(link(1, 2));
    assert_eq!((rule.loss, rule.delay), (0.5, Duration::from_millis(20)));
    healed_beside(&mut cluster, "delay", &mut second, &third);
    assert_eq!(cluster.rule(link(1, 2)).delay, Duration::ZERO);
    let receipt = healed(&mut cluster, "loss", &mut third);
    assert_outcome(&receipt, Outcome::Installed, "probes n1→n2, no such weather: lost 0 of 200");
    assert_eq!(cluster.cuts(), "");
}

#[test]
fn a_cut_healed_under_weather_leaves_it_and_weather_healed_under_a_cut_leaves_that() {
    let mut cluster = TestCluster::new(2);
    let (_, mut weather) = injected(&mut cluster, "loss", &[1]);
    let (_, mut cut) = injected(&mut cluster, "partition", &[1]);
    healed_beside(&mut cluster, "loss", &mut weather, &cut);
    assert_eq!(cluster.rule(link(1, 2)), Rule::BLOCK);
    healed(&mut cluster, "partition", &mut cut);
    assert_eq!(cluster.cuts(), "");
}

#[test]
fn a_constrained_election_leaves_one_node_that_sees_a_majority() {
    let mut cluster = TestCluster::new(5);
    let (receipt, hold) = injected(&mut cluster, "constrained-election", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "an outage is lawful");
    let sees =
        |node: u16| (1..=5).filter(|&other| other == node || !cluster.rule(link(node, other)).block).count();
    let mut seen = (1..=5).map(sees).collect::<Vec<_>>();
    assert_eq!(seen[0], 1);
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 2, 2, 4]);
    assert_eq!(hold.cut.len(), cluster.cuts().split(' ').count());
}

#[test]
fn clients_are_cut_from_the_target_and_the_final_heal_brings_them_back() {
    let mut cluster = TestCluster::new(3);
    let (receipt, _) = injected(&mut cluster, "partition-clients", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "probe n2→harness: did not arrive");
    assert_eq!(cluster.cuts(), "n2→harness harness→n2");
    heal::everything(&mut cluster).expect("nothing is refused");
    assert_eq!(cluster.cuts(), "");
}

#[test]
fn the_final_heal_repairs_what_no_fault_holds() {
    let mut cluster = TestCluster::new(3);
    let (_, _) = injected(&mut cluster, "partition-one-way", &[3]);
    let (_, _) = injected(&mut cluster, "pause", &[1]);
    let (_, _) = injected(&mut cluster, "kill", &[2]);
    let receipt = heal::everything(&mut cluster).expect("nothing is refused");
    assert_outcome(&receipt, Outcome::Installed, "probe n3→n1: arrived");
    assert_outcome(&receipt, Outcome::Installed, "0 of 1 threads in state T after SIGCONT");
    assert_eq!(cluster.cuts(), "");
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");

    let links = cluster.links().expect("it has a switch");
    assert!(!links.rule(link(3, 1)).block);
}

#[test]
fn a_final_heal_that_leaves_a_link_cut_is_indeterminate() {
    let mut cluster = TestCluster::new(2).with(Flaw::OpenIgnored);
    let (_, _) = injected(&mut cluster, "partition-one-way", &[1]);
    let receipt = heal::everything(&mut cluster).expect("nothing is refused");
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n1→n2: nothing arrived");
}
