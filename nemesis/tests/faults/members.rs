//! Faults on members, leadership and failpoints, on a cluster that has them.

use checkers::history::{NodeId, Outcome};
use nemesis::cluster::{Processes, Voice};
use nemesis::faults::{FaultError, heal};

use crate::cluster::{Flaw, TestCluster, assert_outcome, healed, healed_beside, inject, injected};

/// The members: `n1 n2 (n3)`, those without a vote in parentheses.
fn members(cluster: &TestCluster) -> String {
    let shown = cluster.members.iter().map(|(node, voice)| match voice {
        Voice::Voter => node.to_string(),
        Voice::Learner => format!("({node})"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_node_dies_at_its_failpoint_and_is_started_again() {
    let mut cluster = TestCluster::new(2);
    let (receipt, mut hold) = injected(&mut cluster, "crash-at", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "armed to die at ");
    assert_outcome(&receipt, Outcome::Installed, "gone");
    assert_eq!(cluster.states(), "n1 up, n2 down");
    let receipt = healed(&mut cluster, "crash-at", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "started at tick");
    assert_eq!(cluster.states(), "n1 up, n2 up");
    assert!(hold.is_empty());
}

#[test]
fn a_failpoint_that_is_never_reached_is_no_crash() {
    let mut cluster = TestCluster::new(1).with(Flaw::PointsMissed);
    let (receipt, hold) = injected(&mut cluster, "crash-at", &[1]);
    assert_outcome(&receipt, Outcome::Skipped, "sync not reached");
    assert!(hold.is_empty());
    assert_eq!(cluster.states(), "n1 up");
}

#[test]
fn a_system_without_the_means_is_trouble() {
    let mut cluster = TestCluster::new(3);
    cluster.has_system = false;
    assert!(matches!(inject(&mut cluster, "crash-at", &[1]).0, Err(FaultError::NoFailpoints)));
    for fault in ["remove-member", "transfer-leadership", "wipe"] {
        assert!(matches!(inject(&mut cluster, fault, &[1]).0, Err(FaultError::NoMembership)), "{fault}");
    }
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");
}

#[test]
fn a_member_is_removed_while_it_runs_and_has_its_vote_again_after_the_heal() {
    let mut cluster = TestCluster::new(3);
    let before = cluster.pid(NodeId(2));
    let (receipt, mut hold) = injected(&mut cluster, "remove-member", &[2]);
    assert_outcome(&receipt, Outcome::Installed, "n2 members told by n1: n1 n3");
    assert_eq!((members(&cluster).as_str(), cluster.pid(NodeId(2))), ("n1 n3", before));

    let other = hold.clone();
    let receipt = healed_beside(&mut cluster, "remove-member", &mut hold.clone(), &other);
    assert_outcome(&receipt, Outcome::Installed, "stays removed for another fault");
    assert_eq!(members(&cluster), "n1 n3");

    let (_, mut cut) = injected(&mut cluster, "partition", &[3]);
    let receipt = healed_beside(&mut cluster, "remove-member", &mut hold.clone(), &cut);
    assert_outcome(&receipt, Outcome::Installed, "gets its vote back in the final heal");
    assert_eq!(members(&cluster), "n1 n3");
    healed(&mut cluster, "partition", &mut cut);

    let receipt = healed(&mut cluster, "remove-member", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "n2 members told by n1: n1 n2 n3");
    assert_eq!(members(&cluster), "n1 n2 n3");
    assert!(hold.is_empty());
}

#[test]
fn members_that_do_not_change_are_noticed() {
    let mut cluster = TestCluster::new(3).with(Flaw::MembersFixed);
    let (receipt, _) = injected(&mut cluster, "remove-member", &[2]);
    assert_outcome(&receipt, Outcome::Indeterminate, "not within 10s: n1 n2 n3");

    let mut cluster = TestCluster::new(3);
    let (_, mut hold) = injected(&mut cluster, "remove-member", &[2]);
    cluster.flaw = Flaw::MembersFixed;
    let receipt = healed(&mut cluster, "remove-member", &mut hold);
    assert_outcome(&receipt, Outcome::Indeterminate, "not within 10s: n1 n3");
}

#[test]
fn the_final_heal_gives_removed_members_their_vote_back() {
    let mut cluster = TestCluster::new(3);
    cluster.members.insert(NodeId(2), Voice::Learner);
    cluster.members.remove(&NodeId(3));
    let removed = [NodeId(2), NodeId(3)].into();
    let receipt = heal::everything_and_members(&mut cluster, &removed).expect("nothing is refused");
    assert_outcome(&receipt, Outcome::Installed, "n3 members told by n1: n1 n2 n3");
}

#[test]
fn leadership_passes_to_another_node() {
    let mut cluster = TestCluster::new(3);
    let (receipt, hold) = injected(&mut cluster, "transfer-leadership", &[1]);
    let leader = cluster.leader.get().expect("somebody leads");
    assert_ne!(leader, NodeId(1));
    assert_outcome(&receipt, Outcome::Installed, &format!("{leader} traces: {leader} leads"));
    assert!(hold.is_empty(), "there is nothing to undo");
}

#[test]
fn a_transfer_that_does_nothing_is_indeterminate() {
    let mut cluster = TestCluster::new(3).with(Flaw::TransferIgnored);
    let (receipt, _) = injected(&mut cluster, "transfer-leadership", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "traces: n1 leads");
}

#[test]
fn a_wiped_node_is_no_member_meanwhile_and_comes_back_as_one() {
    let mut cluster = TestCluster::new(3);
    let (receipt, mut hold) = injected(&mut cluster, "wipe", &[3]);
    assert_outcome(&receipt, Outcome::Installed, "n3 waitid: signal 9 (SIGKILL)");
    assert_eq!((members(&cluster).as_str(), &cluster.wiped), ("n1 n2", &vec![NodeId(3)]));
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 down");
    healed(&mut cluster, "wipe", &mut hold);
    assert_eq!(members(&cluster), "n1 n2 n3");
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");
}

#[test]
fn a_member_that_cannot_be_removed_keeps_its_data() {
    let mut cluster = TestCluster::new(3).with(Flaw::MembersFixed);
    let (receipt, _) = injected(&mut cluster, "wipe", &[3]);
    assert_outcome(&receipt, Outcome::Indeterminate, "not within 10s");
    assert!(cluster.wiped.is_empty());
    assert_eq!(cluster.states(), "n1 up, n2 up, n3 up");
}
