//! Bounded staleness: how long ago had the value of a read been overwritten?
//!
//! For a system that serves reads from followers or caches. Reads aside, the history must be linearizable; a
//! read must return what some write wrote, and not what was overwritten longer ago than the bound. The age told
//! is a *lower* bound, by this argument, for registers whose values are unique:
//!
//! - A value is *shown* when the first operation that wrote or saw it returned. By then it had been written.
//! - A write that was invoked after a value was shown comes after that value's write. Once the write is shown,
//!   too, the value is surely overwritten. So is one that a compare-and-set replaced, once that is shown.
//! - A read that was invoked after this saw a value at least so old as the time between.
//!
//! Keys with deletes or repeated values are not judged; nil and a value written twice have no one age.

mod by_node;

use std::collections::BTreeMap;

use super::words::{phrase, row};
use crate::evidence::{Consistency, Evidence};
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{History, Operation, Time};
use crate::keys::by_key;
use crate::linearizable::{Call, Judgement, judge};
use crate::model::{Held, Model, Object, Register, RegisterView, show};

use by_node::ByNode;

/// The checker of a system whose reads may be stale.
pub struct Staleness;

impl Checker for Staleness {
    fn name(&self) -> &'static str {
        "staleness"
    }

    fn about(&self) -> &'static str {
        "updates are linearizable; no read shows what was overwritten longer ago than the bound"
    }

    fn applies(&self, evidence: &Evidence) -> bool {
        let operations = evidence.history.operations();
        matches!(evidence.expectations.consistency, Consistency::StaleWithinMs(_))
            && (operations.is_empty() || operations.iter().any(|operation| operation.op.key().is_some()))
    }

    fn check(&self, evidence: &Evidence, budget: Budget) -> Finding {
        let history = &evidence.history;
        let bound = match evidence.expectations.consistency {
            Consistency::StaleWithinMs(bound_ms) => Some(bound_ms.saturating_mul(1_000_000)),
            // Asked without a bound, it tells how old reads were and judges none of them for it.
            Consistency::Linearizable | Consistency::Sequential => None,
        };
        let misfit = Object::Register.misfit(history);
        if Object::of(history) != Object::Register || misfit.is_some() {
            let summary = "the age of a read is only known for registers";
            return Finding::new(self, Verdict::Unknown, summary);
        }
        let keys = by_key(history.operations().iter().filter(|operation| !operation.failed()));

        let mut anomalies = Vec::new();
        let mut undecided: Vec<String> = Vec::new();
        let mut ages: Vec<Time> = Vec::new();
        let mut nodes = ByNode::default();
        for (key, operations) in &keys {
            match judge_updates(history, key, operations, budget) {
                Updates::Linearizable => {}
                Updates::NotLinearizable(anomaly) => anomalies.push(anomaly),
                Updates::Unknown => {
                    undecided.push(format!("the updates of {key} were not decided in the budget"));
                }
            }
            let Some(values) = Values::of(operations) else {
                undecided.push(format!("values of {key} repeat, so the age of a read is not known"));
                continue;
            };
            for &read in operations {
                match values.judge(read) {
                    Seen::NotARead => {}
                    Seen::Fresh => {
                        ages.push(0);
                        nodes.add(read, 0);
                    }
                    Seen::Stale { age, overwriter } => {
                        ages.push(age);
                        nodes.add(read, age);
                        if bound.is_some_and(|bound| age > bound) {
                            anomalies.push(too_old(history, key, read, age, overwriter));
                        }
                    }
                    Seen::Impossible(why) => anomalies.push(impossible(history, key, read, &why)),
                }
            }
        }
        ages.sort_unstable();
        let stale = ages.iter().filter(|&&age| age > 0).count();
        let oldest = ages.last().copied().unwrap_or(0);
        let finding = if !anomalies.is_empty() {
            let found = anomalies.len();
            Finding::from_anomalies(self, anomalies, found, "")
        } else if let Some(why) = undecided.first() {
            Finding::new(self, Verdict::Unknown, why.clone())
        } else if ages.is_empty() {
            Finding::new(self, Verdict::Unknown, "no read succeeded, so nothing was shown")
        } else {
            let limit = bound.map_or_else(String::new, |bound| format!(", the limit is {}", seconds(bound)));
            let summary = format!(
                "{stale} of {} were stale{}, the oldest by {}, half of all by at most {}, 99 of 100 by at most {}{limit}",
                count(ages.len(), "read"),
                nodes.told(),
                seconds(oldest),
                seconds(percentile(&ages, 50)),
                seconds(percentile(&ages, 99)),
            );
            Finding::new(self, Verdict::Valid, summary)
        };
        let finding = finding
            .with_checked("reads", ages.len())
            .with_checked("stale reads", stale)
            .with_checked("oldest read ms", (oldest / 1_000_000) as usize)
            .with_checked("median age ms", (percentile(&ages, 50) / 1_000_000) as usize)
            .with_checked("99th percentile age ms", (percentile(&ages, 99) / 1_000_000) as usize);
        nodes
            .checked()
            .into_iter()
            .fold(finding, |finding, (what, number)| finding.with_checked(&what, number))
    }
}

/// The age that so many of a hundred do not exceed; 0 without any.
fn percentile(sorted: &[Time], percent: usize) -> Time {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

enum Updates {
    Linearizable,
    NotLinearizable(Anomaly),
    Unknown,
}

/// Judges a key without its reads. A refused compare-and-set is a read, too: followers may serve it.
fn judge_updates(history: &History, key: &str, operations: &[&Operation], budget: Budget) -> Updates {
    let is_update = |operation: &Operation| !Register::is_pure(&operation.op, operation.reply());
    let call = |(id, operation): (usize, &&Operation)| Call::<Register> {
        id,
        op: operation.op.clone(),
        ret: operation.reply().cloned(),
        invoked: operation.invoked_at,
        returned: operation.reply().and(operation.completed_at),
    };
    let updates = operations.iter().enumerate().filter(|(_, operation)| is_update(operation)).map(call);
    match judge(&Register::default(), &updates.collect::<Vec<_>>(), budget) {
        Judgement::Linearizable => Updates::Linearizable,
        Judgement::Unknown { .. } => Updates::Unknown,
        Judgement::NotLinearizable(core) => {
            let mut text = vec![format!("no order explains these {} on {key}", count(core.len(), "update"))];
            text.extend(core.iter().take(LISTED_MAX).map(|call| row(history, operations[call.id])));
            let events = core.iter().map(|call| history.locate(operations[call.id].invoke_event)).collect();
            Updates::NotLinearizable(Anomaly { title: "updates not linearizable".to_owned(), text, events })
        }
    }
}

/// Operations that a text lists.
const LISTED_MAX: usize = 12;

/// When the values of a key were written, shown and overwritten.
struct Values<'a> {
    writers: BTreeMap<u64, &'a Operation>,
    /// When a value was surely overwritten, and by which operation.
    overwritten: BTreeMap<Held, (Time, &'a Operation)>,
}

/// How old a read was.
enum Seen<'a> {
    NotARead,
    Fresh,
    Stale { age: Time, overwriter: &'a Operation },
    Impossible(String),
}

impl<'a> Values<'a> {
    /// `None` if values repeat.
    fn of(operations: &[&'a Operation]) -> Option<Values<'a>> {
        let mut writers = BTreeMap::new();
        let mut replaced: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut shown: BTreeMap<u64, Time> = BTreeMap::new();
        for &operation in operations {
            let view = view(operation);
            match view {
                RegisterView::Clear => return None,
                RegisterView::Swap { from, to } => replaced.entry(from).or_default().push(to),
                RegisterView::Read(_)
                | RegisterView::Write(_)
                | RegisterView::Differs(_)
                | RegisterView::Opaque => {}
            }
            if let Some(value) = view.writes()
                && writers.insert(value, operation).is_some()
            {
                return None;
            }
            let value = view.writes().or(view.needs().flatten());
            if let (Some(value), Some(_), Some(at)) = (value, operation.reply(), operation.completed_at) {
                let first = shown.entry(value).or_insert(at);
                *first = at.min(*first);
            }
        }
        // Of the writes that were invoked from some time on, the one that was shown first.
        let mut by_invocation: Vec<(Time, Time, &Operation)> = writers
            .iter()
            .filter_map(|(value, writer)| Some((writer.invoked_at, *shown.get(value)?, *writer)))
            .collect();
        by_invocation.sort_by_key(|&(invoked, shown, writer)| (invoked, shown, writer.index));
        let mut earliest: Vec<(Time, &Operation)> = Vec::with_capacity(by_invocation.len());
        for &(_, shown, writer) in by_invocation.iter().rev() {
            let best = earliest.last().copied().filter(|&(best, _)| best <= shown);
            earliest.push(best.unwrap_or((shown, writer)));
        }
        earliest.reverse();
        let after = |time: Option<Time>| {
            let start = match time {
                Some(time) => by_invocation.partition_point(|&(invoked, ..)| invoked <= time),
                None => 0,
            };
            earliest.get(start).copied()
        };
        let mut overwritten = BTreeMap::new();
        let shown_values = shown.iter().map(|(&value, &at)| (Some(value), Some(at)));
        for (value, at) in std::iter::once((None, None)).chain(shown_values) {
            let successors = value.and_then(|value| replaced.get(&value)).into_iter().flatten();
            let swaps = successors.filter_map(|to| Some((*shown.get(to)?, *writers.get(to)?)));
            let first = after(at).into_iter().chain(swaps).min_by_key(|&(at, writer)| (at, writer.index));
            if let Some(first) = first {
                overwritten.insert(value, first);
            }
        }
        Some(Values { writers, overwritten })
    }

    fn judge(&self, read: &Operation) -> Seen<'a> {
        let RegisterView::Read(held) = view(read) else { return Seen::NotARead };
        if let Some(value) = held {
            match self.writers.get(&value) {
                None => return Seen::Impossible(format!("nobody wrote {value}")),
                Some(writer) if read.completed_at.is_some_and(|at| at < writer.invoked_at) => {
                    let began = seconds(writer.invoked_at);
                    return Seen::Impossible(format!("{value} was written later, from {began} on"));
                }
                Some(_) => {}
            }
        }
        match self.overwritten.get(&held) {
            Some(&(at, overwriter)) if at < read.invoked_at => {
                Seen::Stale { age: read.invoked_at - at, overwriter }
            }
            _ => Seen::Fresh,
        }
    }
}

fn view(operation: &Operation) -> RegisterView {
    Register::register_view(&operation.op, operation.reply())
}

fn too_old(history: &History, key: &str, read: &Operation, age: Time, overwriter: &Operation) -> Anomaly {
    let RegisterView::Read(held) = view(read) else { unreachable!("only reads have an age") };
    let text = vec![
        format!("{} on {key} is {} old", phrase(read), seconds(age)),
        row(history, overwriter),
        row(history, read),
        format!(
            "{} was overwritten by {} at {} at the latest, and the read began at {}",
            show(held),
            phrase(overwriter),
            seconds(read.invoked_at - age),
            seconds(read.invoked_at)
        ),
    ];
    Anomaly { title: "read too old".to_owned(), text, events: events(history, &[overwriter, read]) }
}

fn impossible(history: &History, key: &str, read: &Operation, why: &str) -> Anomaly {
    let text = vec![format!("{} on {key}: {why}", phrase(read)), row(history, read)];
    Anomaly { title: "impossible read".to_owned(), text, events: events(history, &[read]) }
}

fn events(history: &History, operations: &[&Operation]) -> Vec<crate::EventRef> {
    let both = |operation: &&Operation| {
        std::iter::once(operation.invoke_event).chain(operation.complete_event).collect::<Vec<_>>()
    };
    let mut events: Vec<_> = operations.iter().flat_map(both).map(|event| history.locate(event)).collect();
    events.sort_unstable();
    events
}
