//! Partitions on links in memory: what is cut, what is seen, what is left.

use std::time::{Duration, Instant};

use checkers::history::{NodeId, Outcome};
use nemesis::cluster::{Cluster, Links};
use nemesis::faults::hold::Link;
use nemesis::faults::{FAULTS, Needs, heal};
use nemesis::net::Rule;

use crate::cluster::{Flaw, TestCluster, assert_outcome, healed, healed_beside, injected};

fn link(from: u16, to: u16) -> Link {
    Link { from: NodeId(from), to: NodeId(to) }
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
    for fault in FAULTS.iter().filter(|fault| fault.needs() == Needs::Links) {
        for size in [2, 3, 4, 5, 7].into_iter().filter(|&size| size >= fault.nodes_min()) {
            let mut cluster = TestCluster::new(size);
            let began = Instant::now();
            let (receipt, mut hold) = injected(&mut cluster, fault.name(), &[1]);
            let took = began.elapsed();
            assert_outcome(&receipt, Outcome::Installed, "blocked 0 → 1");
            // Eight waits of 30 ms; the rest is for a machine that has other things to do.
            assert!(took < Duration::from_millis(500), "{} of {size} took {took:?}", fault.name());
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
    for fault in FAULTS.iter().filter(|fault| fault.needs() == Needs::Links) {
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
    assert_outcome(&receipt, Outcome::Installed, "every link is cut; there is none to compare with");
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
    cluster.set(NodeId(1), NodeId(2), weather);
    let (_, mut hold) = injected(&mut cluster, "partition", &[1]);
    assert_eq!(cluster.rule(NodeId(1), NodeId(2)), Rule { block: true, ..weather });
    healed(&mut cluster, "partition", &mut hold);
    assert_eq!(cluster.rule(NodeId(1), NodeId(2)), weather);
    heal::everything(&mut cluster).expect("nothing is refused");
    assert_eq!(cluster.cuts(), "", "the final heal clears the sky");
}

#[test]
fn cutting_what_is_cut_or_nothing_is_skipped() {
    let mut cluster = TestCluster::new(3);
    let (receipt, _) = injected(&mut cluster, "partition", &[1, 2, 3]);
    assert_outcome(&receipt, Outcome::Skipped, "no link to cut between targets and others");
    let (_, _first) = injected(&mut cluster, "partition", &[1]);
    let (receipt, second) = injected(&mut cluster, "partition-one-way", &[1]);
    assert_outcome(&receipt, Outcome::Skipped, "cut already");
    assert!(second.is_empty());
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
    assert!(!links.rule(NodeId(3), NodeId(1)).block);
}

#[test]
fn a_final_heal_that_leaves_a_link_cut_is_indeterminate() {
    let mut cluster = TestCluster::new(2).with(Flaw::OpenIgnored);
    let (_, _) = injected(&mut cluster, "partition-one-way", &[1]);
    let receipt = heal::everything(&mut cluster).expect("nothing is refused");
    assert_outcome(&receipt, Outcome::Indeterminate, "probe n1→n2: nothing arrived");
}
