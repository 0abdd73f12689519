//! What a step waits for once its time has come, and what keeps it in force beyond its time.
//!
//! A fault aimed at the leader misses if it falls into an election, and a scenario wants "cut the leader off until it
//! holds an uncommitted tail", not "for four seconds". Conditions are plain data in the plan:
//!
//! ```json
//! {"at_ms": 1000, "duration_ms": 500, "fault": "partition", "target": "leader",
//!  "trigger": {"when": {"acknowledged": {"operations": 400, "since": "start"}}, "within_ms": 9000},
//!  "until": {"when": {"all": [{"uncommitted-tail": {"of": "step-1", "entries": 1}},
//!                             {"leader-elected": {"times": 1}}]}, "within_ms": 6000}}
//! ```
//!
//! Wall time remains the anchor: a plan without conditions is a timetable, and each condition has a limit after which the
//! plan goes on without it. A condition is a pure function of what the cluster shows now, what it showed when counting
//! began, and what has become of the steps so far.

use std::fmt;

use checkers::history::NodeId;
use serde::{Deserialize, Serialize};

use crate::signals::Signals;
use crate::target::Target;

/// What a step waits for when its time has come. In a plan: `{"when": "leader-known", "within_ms": 3000}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// What must hold.
    pub when: Condition,
    /// How long after the step's time it is waited for.
    pub within_ms: u64,
    /// What is done if it did not hold by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub otherwise: Otherwise,
}

/// What becomes of a step whose condition never held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// It is skipped.
    #[default]
    Skip,
    /// It begins all the same.
    GoOn,
}

/// What keeps a step in force when its duration is over. If it never holds, the step is healed at the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// What must hold.
    pub when: Condition,
    /// How long after the end of the step's duration it is waited for.
    pub within_ms: u64,
}

/// A condition on the cluster and on the steps so far. Steps are numbered from 1, in the order of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Condition {
    /// Some node is known to lead, and up.
    LeaderKnown,
    /// So many leaders were elected.
    LeaderElected {
        /// How many.
        times: u64,
        /// Counted from where.
        #[serde(default)]
        since: Since,
    },
    /// So many operations were acknowledged to clients.
    Acknowledged {
        /// How many.
        operations: u64,
        /// Counted from where.
        #[serde(default)]
        since: Since,
    },
    /// Each of these nodes has entries in its log that it does not know to be committed.
    UncommittedTail {
        /// Which nodes: `leader`, `n2`, `step-1`; `one` is any.
        of: Target,
        /// At least so many.
        entries: u64,
    },
    /// The commit indexes of two nodes lie apart.
    CommitsDiffer {
        /// At least so much.
        by: u64,
    },
    /// An event stood in the nodes' traces.
    Traced {
        /// Its name in the trace: `truncate`, `snapshot`; a role is written `role candidate`.
        event: String,
        /// In whose trace; all nodes together, if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Target>,
        /// At least so often.
        times: u64,
        /// Counted from where.
        #[serde(default)]
        since: Since,
    },
    /// The fault of this step is in force.
    InForce(usize),
    /// The fault of this step has been healed.
    Healed(usize),
    /// Clients have been answered through each of these nodes since their step was healed, or counting began.
    Serves(Target),
    /// All of these hold at once.
    All(Vec<Condition>),
}

/// From where something is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// From the start of the nemesis.
    Start,
    /// To begin a step: from the beginning of the step before. To end one: from its own beginning.
    #[default]
    Step,
}

/// What has become of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// It has not begun.
    #[default]
    Pending,
    /// It was skipped.
    Skipped,
    /// Its fault is in force on these nodes.
    InForce(Vec<NodeId>),
    /// Its fault was healed, when the cluster showed this.
    Healed(Vec<NodeId>, Box<Signals>),
}

impl Progress {
    /// The nodes that the step hit.
    pub(crate) fn hit(&self) -> Option<&[NodeId]> {
        match self {
            Self::Pending | Self::Skipped => None,
            Self::InForce(nodes) | Self::Healed(nodes, _) => Some(nodes),
        }
    }
}

/// All that a condition is judged by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The cluster now.
    pub now: &'a Signals,
    /// The cluster when the nemesis began.
    pub start: &'a Signals,
    /// The cluster when counting began for this step.
    pub step: &'a Signals,
    /// What has become of each step.
    pub steps: &'a [Progress],
}

impl View<'_> {
    fn since(&self, since: Since) -> &Signals {
        match since {
            Since::Start => self.start,
            Since::Step => self.step,
        }
    }

    /// The nodes that a target without chance means now.
    fn nodes(&self, target: &Target) -> Vec<NodeId> {
        let all = self.now.nodes.keys().copied();
        match target {
            Target::Leader => self.now.leader.into_iter().collect(),
            Target::Followers => all.filter(|&node| Some(node) != self.now.leader).collect(),
            Target::Nodes(nodes) => nodes.iter().copied().collect(),
            Target::Step(number) => {
                self.steps.get(number - 1).and_then(Progress::hit).unwrap_or_default().to_vec()
            }
            Target::All | Target::One | Target::Follower | Target::Minority | Target::Majority => {
                all.collect()
            }
        }
    }

    /// Whether it holds of the nodes meant: of one of them for `one`, otherwise of all, and of at least one.
    fn holds_of(&self, target: &Target, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        let nodes = self.nodes(target);
        if *target == Target::One {
            return nodes.into_iter().any(holds);
        }
        !nodes.is_empty() && nodes.into_iter().all(&mut holds)
    }

    /// Operations answered through a node since the step that hit it was healed, or since counting began.
    fn served(&self, node: NodeId) -> u64 {
        let healed = self.steps.iter().rev().find_map(|step| match step {
            Progress::Healed(nodes, then) if nodes.contains(&node) => Some(&**then),
            _ => None,
        });
        let since = [Some(self.step), healed].into_iter().flatten().map(|then| then.of(node).acknowledged);
        self.now.of(node).acknowledged - since.max().unwrap_or(0)
    }
}

impl Trigger {
    /// Waits for a leader: three seconds see two rounds of an election with the usual timeout of a second.
    pub const LEADER_KNOWN: Self =
        Self { when: Condition::LeaderKnown, within_ms: 3_000, otherwise: Otherwise::Skip };
}

impl Condition {
    /// Whether it holds now.
    pub fn holds(&self, view: &View<'_>) -> bool {
        let now = view.now;
        match self {
            Self::LeaderKnown => now.leader.is_some(),
            Self::LeaderElected { times, since } => now.elections - view.since(*since).elections >= *times,
            Self::Acknowledged { operations, since } => {
                now.acknowledged() - view.since(*since).acknowledged() >= *operations
            }
            Self::UncommittedTail { of, entries } => {
                view.holds_of(of, |node| now.of(node).uncommitted() >= *entries)
            }
            Self::CommitsDiffer { by } => now.commit_spread() >= *by,
            Self::Traced { event, by, times, since } => {
                let since = view.since(*since);
                let nodes = by.as_ref().map_or_else(|| view.nodes(&Target::All), |by| view.nodes(by));
                let seen =
                    nodes.into_iter().map(|node| now.of(node).seen(event) - since.of(node).seen(event));
                seen.sum::<u64>() >= *times
            }
            Self::InForce(number) => matches!(view.steps.get(number - 1), Some(Progress::InForce(_))),
            Self::Healed(number) => matches!(view.steps.get(number - 1), Some(Progress::Healed(..))),
            Self::Serves(target) => view.holds_of(target, |node| view.served(node) > 0),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(view)),
        }
    }

    /// Whether it can ever hold in a plan of `steps` steps on `size` nodes, when it begins or ends step `own`; plans are
    /// edited by hand.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, own: usize, steps: usize, size: usize) -> Result<(), String> {
        let target = |target: &Target| match target {
            Target::Follower | Target::Minority | Target::Majority => {
                Err(format!("a condition cannot draw nodes; `{target}` is a matter of chance"))
            }
            Target::Step(number) => step_exists(*number, own, steps),
            other => other.check(size),
        };
        match self {
            Self::LeaderKnown
            | Self::LeaderElected { .. }
            | Self::Acknowledged { .. }
            | Self::CommitsDiffer { .. } => Ok(()),
            Self::UncommittedTail { of, .. } => target(of),
            Self::Traced { by, .. } => by.as_ref().map_or(Ok(()), target),
            Self::InForce(number) | Self::Healed(number) => step_exists(*number, own, steps),
            Self::Serves(nodes) => target(nodes),
            Self::All(conditions) => {
                conditions.iter().try_for_each(|condition| condition.check(own, steps, size))
            }
        }
    }
}

fn step_exists(number: usize, own: usize, steps: usize) -> Result<(), String> {
    if (1..=steps).contains(&number) && number <= own {
        return Ok(());
    }
    Err(format!("step {number} is not one of the steps 1 to {own} that have begun by then"))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |since: &Since| match since {
            Since::Start => "",
            Since::Step => " since the step began",
        };
        match self {
            Self::LeaderKnown => f.write_str("a leader is known"),
            Self::LeaderElected { times, since } => write!(f, "{times} elected as leader{}", words(since)),
            Self::Acknowledged { operations, since } => {
                write!(f, "{operations} operations acknowledged{}", words(since))
            }
            Self::UncommittedTail { of, entries } => {
                write!(f, "{of} has {entries} entries that it does not know to be committed")
            }
            Self::CommitsDiffer { by } => write!(f, "commit indexes differ by {by}"),
            Self::Traced { event, by, times, since } => {
                let by = by.as_ref().map(|by| format!(" of {by}")).unwrap_or_default();
                write!(f, "`{event}` stood {times} times in the traces{by}{}", words(since))
            }
            Self::InForce(number) => write!(f, "step {number} is in force"),
            Self::Healed(number) => write!(f, "step {number} is healed"),
            Self::Serves(target) => write!(f, "{target} serves"),
            Self::All(conditions) => {
                let all = conditions.iter().map(ToString::to_string).collect::<Vec<_>>();
                f.write_str(&all.join(" and "))
            }
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::NodeSignals;

    /// Three nodes: what each has acknowledged, its last index and its commit index.
    fn signals(leader: Option<u16>, elections: u64, nodes: [(u64, u64, u64); 3]) -> Signals {
        let nodes = nodes.into_iter().zip(1..).map(|((acknowledged, last_index, commit_index), number)| {
            let events = [("role leader".to_owned(), elections)].into_iter().collect();
            (NodeId(number), NodeSignals { acknowledged, last_index, commit_index, events })
        });
        Signals { leader: leader.map(NodeId), elections, nodes: nodes.collect() }
    }

    fn holds(json: &str, now: &Signals, step: &Signals, steps: &[Progress]) -> bool {
        let condition = serde_json::from_str::<Condition>(json).expect(json);
        let start = Signals::default();
        condition.holds(&View { now, start: &start, step, steps })
    }

    #[test]
    fn each_condition_holds_from_its_number_on_and_not_before() {
        let before = signals(Some(1), 2, [(10, 5, 5), (10, 5, 5), (10, 5, 5)]);
        let now = signals(Some(2), 3, [(10, 9, 5), (15, 7, 7), (11, 7, 6)]);
        let steps = [Progress::InForce(vec![NodeId(1)]), Progress::Skipped];
        let yes = |json: &str| assert!(holds(json, &now, &before, &steps), "{json}");
        let no = |json: &str| assert!(!holds(json, &now, &before, &steps), "{json}");
        yes(r#""leader-known""#);
        yes(r#"{"leader-elected":{"times":1}}"#);
        no(r#"{"leader-elected":{"times":2}}"#);
        yes(r#"{"leader-elected":{"times":3,"since":"start"}}"#);
        yes(r#"{"acknowledged":{"operations":6}}"#);
        no(r#"{"acknowledged":{"operations":7}}"#);
        yes(r#"{"acknowledged":{"operations":36,"since":"start"}}"#);
        yes(r#"{"uncommitted-tail":{"of":"step-1","entries":4}}"#);
        no(r#"{"uncommitted-tail":{"of":"step-1","entries":5}}"#);
        no(r#"{"uncommitted-tail":{"of":"leader","entries":1}}"#);
        yes(r#"{"uncommitted-tail":{"of":"one","entries":4}}"#);
        no(r#"{"uncommitted-tail":{"of":"step-2","entries":0}}"#);
        yes(r#"{"commits-differ":{"by":2}}"#);
        no(r#"{"commits-differ":{"by":3}}"#);
        yes(r#"{"traced":{"event":"role leader","by":"n3","times":1}}"#);
        yes(r#"{"traced":{"event":"role leader","times":3}}"#);
        no(r#"{"traced":{"event":"role leader","times":4}}"#);
        yes(r#"{"in-force":1}"#);
        no(r#"{"in-force":2}"#);
        no(r#"{"healed":1}"#);
        yes(r#"{"serves":"n2+n3"}"#);
        no(r#"{"serves":"n1"}"#);
        no(r#"{"all":["leader-known",{"healed":1}]}"#);
    }

    #[test]
    fn a_node_is_back_when_it_served_after_the_heal() {
        let began = signals(Some(1), 1, [(10, 5, 5); 3]);
        let healed = signals(Some(1), 1, [(12, 5, 5); 3]);
        let steps = [Progress::Healed(vec![NodeId(1)], Box::new(healed.clone()))];
        assert!(!holds(r#"{"serves":"step-1"}"#, &healed, &began, &steps), "it served before the heal only");
        let later = signals(Some(1), 1, [(13, 5, 5), (12, 5, 5), (12, 5, 5)]);
        assert!(holds(r#"{"serves":"step-1"}"#, &later, &began, &steps));
    }

    #[test]
    fn a_condition_that_can_never_hold_is_refused() {
        let check = |json: &str| serde_json::from_str::<Condition>(json).expect(json).check(2, 3, 5);
        assert!(check(r#"{"healed":1}"#).is_ok());
        let later = check(r#"{"healed":3}"#).expect_err("step 3 comes later");
        assert_eq!(later, "step 3 is not one of the steps 1 to 2 that have begun by then");
        assert!(check(r#"{"healed":0}"#).is_err());
        assert!(check(r#"{"serves":"minority"}"#).expect_err("drawn").contains("matter of chance"));
        assert!(check(r#"{"all":[{"serves":"n9"}]}"#).is_err());
    }

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let text = r#"{"when":{"all":[{"leader-elected":{"times":1,"since":"step"}},{"serves":"step-1"}]},"within_ms":3000,"otherwise":"go-on"}"#;
        let trigger = serde_json::from_str::<Trigger>(text).expect("this is the format");
        assert_eq!(serde_json::to_string(&trigger).expect("plain data"), text);
        assert_eq!(
            serde_json::to_string(&Trigger::LEADER_KNOWN).expect("plain data"),
            r#"{"when":"leader-known","within_ms":3000}"#
        );
        let error = serde_json::from_str::<Trigger>(r#"{"when":{"serves":"step-0"},"within_ms":1}"#);
        assert!(error.is_err(), "steps are numbered from 1");
    }
}
