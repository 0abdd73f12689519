//! Which nodes a fault hits: a symbolic choice, written in the plan and resolved when the step runs.
//!
//! `leader` cannot be a node number in a plan: nobody knows before the run who will lead. A target that cannot be
//! resolved (nobody leads, the cluster is too small) gives a reason, and the step is skipped with it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use checkers::history::NodeId;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::trigger::Progress;

/// The generator of every random choice; its stream is fixed across releases, so a seed keeps its meaning.
pub type Rng = rand_pcg::Pcg32;

/// A choice of nodes, written as `one`, `leader`, `followers`, `minority`, `majority`, `all`, `n3`, `n1+n2` or `step-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any one node.
    One,
    /// The leader of the highest term known.
    Leader,
    /// Any one node but the leader.
    Follower,
    /// Every node but the leader.
    Followers,
    /// As many random nodes as a quorum can lose. The leader may be among them.
    Minority,
    /// As few random nodes as make a quorum.
    Majority,
    /// Every node.
    All,
    /// These nodes.
    Nodes(BTreeSet<NodeId>),
    /// The nodes that an earlier step of the schedule hit, by its number, from 1.
    Step(usize),
}

/// How the target that refers to a step begins.
const STEP: &str = "step-";

/// The symbolic targets and their names.
static NAMES: [(&str, Target); 7] = [
    ("one", Target::One),
    ("leader", Target::Leader),
    ("follower", Target::Follower),
    ("followers", Target::Followers),
    ("minority", Target::Minority),
    ("majority", Target::Majority),
    ("all", Target::All),
];

/// How targets are written and what each means, in the order shown by `harness list`.
pub const ABOUT: &[(&str, &str)] = &[
    ("one", "any one node"),
    ("leader", "the leader of the highest term known when the step runs"),
    ("follower", "any one node but the leader"),
    ("followers", "every node but the leader"),
    ("minority", "as many random nodes as a quorum can lose; the leader may be among them"),
    ("majority", "as few random nodes as make a quorum"),
    ("all", "every node"),
    ("n1+n2", "these nodes"),
    ("step-1", "the nodes that this step of the schedule hit; in plans only"),
];

impl Target {
    /// The nodes meant now, in order. `steps` is what has become of the steps of the schedule.
    ///
    /// # Errors
    ///
    /// Why there are none, in words that read after "skipped: ".
    pub fn resolve(
        &self,
        cluster: &dyn Cluster,
        steps: &[Progress],
        rng: &mut Rng,
    ) -> Result<Vec<NodeId>, String> {
        let all = cluster.nodes();
        self.check(all.len()).and_then(|()| match self {
            Self::One => Ok(vec![all[rng.random_range(0..all.len())]]),
            Self::Leader => Ok(vec![leader_of(cluster)?]),
            Self::Follower => {
                let leader = leader_of(cluster)?;
                let others = all.into_iter().filter(|&node| node != leader).collect::<Vec<_>>();
                Ok(vec![others[rng.random_range(0..others.len())]])
            }
            Self::Followers => {
                let leader = leader_of(cluster)?;
                Ok(all.into_iter().filter(|&node| node != leader).collect())
            }
            Self::Minority => Ok(sample(&all, (all.len() - 1) / 2, rng)),
            Self::Majority => Ok(sample(&all, all.len() / 2 + 1, rng)),
            Self::All => Ok(all),
            Self::Nodes(nodes) => match nodes.iter().find(|node| !all.contains(node)) {
                Some(unknown) => Err(format!("there is no node {unknown} in this cluster")),
                None => Ok(nodes.iter().copied().collect()),
            },
            Self::Step(number) => {
                let hit = steps.get(number - 1).and_then(Progress::hit);
                hit.map(<[_]>::to_vec).ok_or_else(|| format!("step {number} hit nobody"))
            }
        })
    }

    /// Whether a cluster of `size` nodes can have such nodes at all.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn check(&self, size: usize) -> Result<(), String> {
        let size_min = match self {
            Self::One | Self::Leader | Self::Majority | Self::All | Self::Step(_) => 1,
            Self::Follower | Self::Followers => 2,
            Self::Minority => 3,
            Self::Nodes(nodes) => nodes.last().map_or(0, |node| usize::from(node.0)),
        };
        if size >= size_min {
            return Ok(());
        }
        Err(format!("target `{self}` needs a cluster of at least {size_min} nodes; this one has {size}"))
    }

    /// How many nodes it means in a cluster of `size` nodes. An earlier step's nodes are counted there.
    pub fn count(&self, size: usize) -> usize {
        match self {
            Self::One | Self::Leader | Self::Follower => 1,
            Self::Followers => size.saturating_sub(1),
            Self::Minority => size.saturating_sub(1) / 2,
            Self::Majority => size / 2 + 1,
            Self::All => size,
            Self::Nodes(nodes) => nodes.len(),
            Self::Step(_) => 0,
        }
    }

    /// Whether it depends on who leads.
    pub fn needs_leader(&self) -> bool {
        matches!(self, Self::Leader | Self::Follower | Self::Followers)
    }
}

fn leader_of(cluster: &dyn Cluster) -> Result<NodeId, String> {
    cluster.leader().ok_or_else(|| "no leader is known".to_owned())
}

fn sample(nodes: &[NodeId], count: usize, rng: &mut Rng) -> Vec<NodeId> {
    let mut shuffled = nodes.to_vec();
    shuffled.shuffle(rng);
    shuffled.truncate(count);
    shuffled.sort_unstable();
    shuffled
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Nodes(nodes) = self {
            let names = nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
            return f.pad(&names.join("+"));
        }
        if let Self::Step(number) = self {
            return f.pad(&format!("{STEP}{number}"));
        }
        let (name, _) =
            NAMES.iter().find(|(_, target)| target == self).expect("every symbolic target has a name");
        f.pad(name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, target)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(target.clone());
        }
        if let Some(number) = text.strip_prefix(STEP).and_then(|number| number.parse().ok())
            && number > 0
        {
            return Ok(Self::Step(number));
        }
        text.split('+').map(str::parse).collect::<Result<_, String>>().map(Self::Nodes).map_err(|_| {
            let names = NAMES.each_ref().map(|(name, _)| *name).join(", ");
            format!("`{text}` is not a target; use {names}, or nodes such as n3 or n1+n2")
        })
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Links, Processes};

    struct Five {
        leader: Option<NodeId>,
    }

    impl Cluster for Five {
        fn nodes(&self) -> Vec<NodeId> {
            (1..=5).map(NodeId).collect()
        }
        fn leader(&self) -> Option<NodeId> {
            self.leader
        }
        fn processes(&mut self) -> &mut dyn Processes {
            unreachable!("choosing nodes touches no process")
        }
        fn links(&mut self) -> Option<&mut dyn Links> {
            unreachable!("choosing nodes touches no link")
        }
    }

    fn resolve(text: &str, leader: Option<u16>, seed: u64) -> Result<Vec<u16>, String> {
        let target = text.parse::<Target>()?;
        let nodes = target.resolve(&Five { leader: leader.map(NodeId) }, &[], &mut Rng::new(seed, 0))?;
        Ok(nodes.into_iter().map(|node| node.0).collect())
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in ["one", "leader", "followers", "minority", "majority", "all", "n3", "n1+n2", "step-2"] {
            let target = text.parse::<Target>().expect(text);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn a_mistyped_target_lists_what_there_is() {
        let reason = "leadr".parse::<Target>().expect_err("no such target");
        assert!(reason.contains("`leadr` is not a target; use one, leader, follower, followers"), "{reason}");
    }

    #[test]
    fn roles_follow_the_leader() {
        assert_eq!(resolve("leader", Some(4), 0), Ok(vec![4]));
        assert_eq!(resolve("followers", Some(4), 0), Ok(vec![1, 2, 3, 5]));
        assert_eq!(resolve("leader", None, 0), Err("no leader is known".to_owned()));
    }

    #[test]
    fn a_minority_has_the_leader_sometimes() {
        let minorities = (0..100).map(|seed| resolve("minority", Some(4), seed).expect("five nodes"));
        let with_leader =
            minorities.inspect(|nodes| assert_eq!(nodes.len(), 2)).filter(|n| n.contains(&4)).count();
        assert!((20..60).contains(&with_leader), "{with_leader} of 100, expected about 40");
    }

    #[test]
    fn the_same_seed_chooses_the_same_nodes() {
        assert_eq!(resolve("majority", None, 7), resolve("majority", None, 7));
        assert_eq!(resolve("majority", None, 7).expect("five nodes").len(), 3);
    }

    #[test]
    fn a_step_means_the_nodes_that_it_hit() {
        let resolve = |text: &str| {
            let steps = [Progress::Skipped, Progress::InForce(vec![NodeId(2), NodeId(4)])];
            let target = text.parse::<Target>().expect("a target");
            target.resolve(&Five { leader: None }, &steps, &mut Rng::new(1, 1))
        };
        assert_eq!(resolve("step-2"), Ok(vec![NodeId(2), NodeId(4)]));
        assert_eq!(resolve("step-1"), Err("step 1 hit nobody".to_owned()));
        assert!("step-0".parse::<Target>().is_err());
    }

    #[test]
    fn nodes_that_do_not_exist_are_named() {
        let reason = resolve("n2+n9", None, 0).expect_err("five nodes");
        assert_eq!(reason, "target `n2+n9` needs a cluster of at least 9 nodes; this one has 5");
    }
}
