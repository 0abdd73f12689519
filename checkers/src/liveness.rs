//! Recovery: once every fault is healed, the cluster serves again, through every node, within a stated time.
//!
//! Safety alone is met by a cluster that does nothing. This is the other half: a deadline that starts when
//! the last fault was healed, so that no lawful lack of a quorum can excuse what it finds.

use std::collections::BTreeMap;

use crate::evidence::Evidence;
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{Event, EventIndex, History, MicroOp, NodeId, Op, Operation, Phase, Reply, Time};

/// Every node serves again after the heal.
pub struct Recovery;

impl Checker for Recovery {
    fn name(&self) -> &'static str {
        "recovery"
    }

    fn about(&self) -> &'static str {
        "after the heal every node answers, and a write succeeds, within the limit"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        let history = &evidence.history;
        let expected = &evidence.expectations;
        let Some(healed_at) = history.phase_start(Phase::Recovery) else {
            return Finding::new(self, Verdict::Unknown, "the run ended before its recovery phase");
        };
        if expected.nodes.is_empty() {
            return Finding::new(self, Verdict::Unknown, "the plan names no nodes that should recover");
        }
        let limit = expected.recovery_limit_ms.saturating_mul(1_000_000);
        let cut_short = history.last_time() < healed_at.saturating_add(limit);
        let watch = Watch { history, healed_at, limit, cut_short };

        let mut served = BTreeMap::new();
        for operation in history.operations().iter().filter(|operation| operation.reply().is_some()) {
            if let (Some(node), Some(at)) = (operation.node, operation.completed_at)
                && at >= healed_at
            {
                // Operations are in the order of their invocations; a slow one may come before a quick one.
                served.entry(node).and_modify(|first: &mut Time| *first = at.min(*first)).or_insert(at);
            }
        }
        let mut late = Vec::new();
        let mut unseen = Vec::new();
        for &node in &expected.nodes {
            match watch.judge(served.get(&node).copied()) {
                Served::InTime => {}
                Served::Late(took) => late.push(watch.anomaly(
                    "node did not recover in time",
                    format!(
                        "{node} needed {} to serve after the heal, the limit is {}",
                        seconds(took),
                        seconds(limit)
                    ),
                    Some(node),
                )),
                Served::Never => late.push(watch.anomaly(
                    "node did not recover",
                    format!(
                        "{node} served nobody within {} after the heal at {}",
                        seconds(limit),
                        seconds(healed_at)
                    ),
                    Some(node),
                )),
                Served::NotSeen => unseen.push(node.to_string()),
            }
        }
        let first_write = history.operations().iter().filter(|operation| is_write(operation));
        let first_write =
            first_write.filter_map(|operation| operation.completed_at).filter(|&at| at >= healed_at).min();
        match watch.judge(first_write) {
            Served::InTime => {}
            Served::Late(took) => late.push(watch.anomaly(
                "writes did not recover in time",
                format!(
                    "the first write after the heal took {}, the limit is {}",
                    seconds(took),
                    seconds(limit)
                ),
                None,
            )),
            Served::Never => late.push(watch.anomaly(
                "writes did not recover",
                format!("no write succeeded within {} after the heal", seconds(limit)),
                None,
            )),
            Served::NotSeen => unseen.push("a write".to_owned()),
        }

        let finding = if late.is_empty() && !unseen.is_empty() {
            let summary = format!(
                "the run was cut short {} after the heal, before it had seen {}",
                seconds(history.last_time() - healed_at),
                unseen.join(", ")
            );
            Finding::new(self, Verdict::Unknown, summary)
        } else {
            let slowest =
                served.iter().filter(|(node, _)| expected.nodes.contains(node)).max_by_key(|(_, at)| **at);
            let valid = slowest.map_or_else(String::new, |(node, &at)| {
                format!(
                    "{} served again, {node} last, {} after the heal",
                    count(expected.nodes.len(), "node"),
                    seconds(at - healed_at)
                )
            });
            let found = late.len();
            Finding::from_anomalies(self, late, found, valid)
        };
        expected.nodes.iter().filter_map(|node| served.get_key_value(node)).fold(
            finding.with_checked("nodes", expected.nodes.len()),
            |finding, (node, at)| {
                finding
                    .with_checked(&format!("{node} served after ms"), ((at - healed_at) / 1_000_000) as usize)
            },
        )
    }
}

/// What is judged against the clock.
struct Watch<'a> {
    history: &'a History,
    healed_at: Time,
    limit: Time,
    /// Whether the history ends before the limit.
    cut_short: bool,
}

/// When something worked again.
enum Served {
    InTime,
    /// After this time.
    Late(Time),
    Never,
    /// Not yet, but the history ends before the limit.
    NotSeen,
}

impl Watch<'_> {
    fn judge(&self, at: Option<Time>) -> Served {
        match at {
            Some(at) if at - self.healed_at <= self.limit => Served::InTime,
            Some(at) => Served::Late(at - self.healed_at),
            None if self.cut_short => Served::NotSeen,
            None => Served::Never,
        }
    }

    /// An anomaly, with the deaths that may explain it.
    fn anomaly(&self, title: &str, line: String, node: Option<NodeId>) -> Anomaly {
        let mut anomaly = Anomaly { title: title.to_owned(), text: vec![line], events: Vec::new() };
        for (index, event) in self.history.events().iter().enumerate() {
            match event {
                Event::Phase { phase: Phase::Recovery, .. } => {
                    anomaly.events.push(self.history.locate(EventIndex(index)));
                }
                Event::Death { time, node: dead, status, .. } if node.is_none_or(|node| node == *dead) => {
                    anomaly
                        .text
                        .push(format!("{dead} had died by itself at {} with {status}", seconds(*time)));
                    anomaly.events.push(self.history.locate(EventIndex(index)));
                }
                _ => {}
            }
        }
        anomaly
    }
}

fn is_write(operation: &Operation) -> bool {
    match (&operation.op, operation.reply()) {
        (Op::Read { .. }, _) | (_, None | Some(Reply::NotSwapped { .. } | Reply::Mismatch)) => false,
        (Op::Txn { ops }, Some(_)) => ops.iter().any(|op| matches!(op, MicroOp::Append { .. })),
        (_, Some(_)) => true,
    }
}
