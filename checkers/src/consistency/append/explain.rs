//! Anomalies of transactions in words, in the manner of Elle: who must come before whom, and why that cannot be.

use super::super::graph::Step;
use super::cycles::Cycle;
use super::dependencies::Why;
use super::observed::{Oddity, OddityKind};
use super::transactions::Transaction;
use crate::event_ref::EventRef;
use crate::finding::{Anomaly, count, seconds};
use crate::history::{History, Time, Value, elements};

/// What a text is about.
pub(super) struct Explainer<'a> {
    pub(super) history: &'a History,
    pub(super) transactions: &'a [Transaction<'a>],
}

/// Steps of a cycle that a text tells; of a longer one the first few and the last.
const STEPS_MAX: usize = 6;
/// Characters of a transaction or list that a text shows.
const SHOWN_MAX: usize = 120;

impl Explainer<'_> {
    pub(super) fn oddity(&self, oddity: &Oddity<'_>) -> Anomaly {
        let Oddity { key, seen, .. } = *oddity;
        let seen = format!("{key} = {}", list(seen));
        let value = oddity.value.unwrap_or_default();
        let (title, headline) = match oddity.kind {
            OddityKind::FromNowhere => {
                ("value from nowhere", format!("T1 read {value} in {key}, which nobody appended"))
            }
            OddityKind::Duplicate => {
                ("duplicate element", format!("T1 read {seen}; {value} was appended once and is there twice"))
            }
            OddityKind::Internal => {
                let expected = list(&oddity.expected);
                let how = match oddity.value {
                    Some(_) => format!("which does not end with {expected}, what T1 had appended itself"),
                    None => format!("after what T1 had read and appended itself it must be {expected}"),
                };
                ("internal inconsistency", format!("T1 read {seen}, {how}"))
            }
            OddityKind::AbortedRead => (
                "aborted read (G1a)",
                format!("T1 read {value} in {key}, which T2 had appended, and T2 failed"),
            ),
            OddityKind::IntermediateRead => (
                "intermediate read (G1b)",
                format!(
                    "T1 read {seen}, which ends with {value}; T2 appended that and then more, in one step"
                ),
            ),
            OddityKind::IncompatibleOrder => (
                "incompatible order",
                format!(
                    "T1 read {seen}, T2 read {key} = {}: neither came before the other",
                    list(&oddity.expected)
                ),
            ),
            OddityKind::Reordered => (
                "reordered appends",
                format!(
                    "T1 read {seen}; T2 appended {} to it, in this order and in one step",
                    list(&oddity.expected)
                ),
            ),
        };
        let told: Vec<usize> = std::iter::once(oddity.reader).chain(oddity.other).collect();
        let mut text = vec![headline];
        text.extend(told.iter().enumerate().map(|(number, &index)| self.line(number, index)));
        Anomaly { title: title.to_owned(), text, events: self.events(&told) }
    }

    pub(super) fn cycle(&self, cycle: &Cycle<'_>) -> Anomaly {
        let steps = ending_with_the_oddest(&cycle.steps);
        let last = steps.len() - 1;
        let shown: Vec<usize> = (0..steps.len())
            .filter(|&i| steps.len() <= STEPS_MAX || i < STEPS_MAX - 1 || i == last)
            .collect();
        let gap = (shown.len() < steps.len())
            .then(|| format!("  … and {} in between", count(steps.len() - shown.len(), "more transaction")));

        let headline = if steps.len() == 2 {
            "T1 and T2 must each come before the other".to_owned()
        } else {
            format!("T1 to T{} must each come before the next, and T{} before T1", steps.len(), steps.len())
        };
        let mut text = vec![headline];
        for &position in &shown {
            if position == last {
                text.extend(gap.clone());
            }
            text.push(self.line(position, steps[position].from));
        }
        for &position in &shown {
            let (this, next) = (position + 1, (position + 1) % steps.len() + 1);
            let reason = self.reason(&steps[position], this, next);
            text.push(if position == last {
                format!("however, T{this} < T{next}, because {reason}: a contradiction")
            } else {
                format!("T{this} < T{next}, because {reason}")
            });
        }
        let told: Vec<usize> = shown.iter().map(|&position| steps[position].from).collect();
        Anomaly { title: cycle.name.clone(), text, events: self.events(&told) }
    }

    fn reason(&self, step: &Step<Why<'_>>, this: usize, next: usize) -> String {
        match step.why {
            Why::WriteWrite { key, earlier, later, seen: true } => {
                format!("T{next} appended {later} to {key} after T{this} had appended {earlier}")
            }
            Why::WriteWrite { key, earlier, later, seen: false } => format!(
                "no read that saw T{this}'s {earlier} in {key} saw T{next}'s {later}, so {later} came after it"
            ),
            Why::WriteRead { key, value } => format!("T{next} saw T{this}'s append of {value} to {key}"),
            Why::ReadWrite { key, missed, .. } => {
                format!("T{this} did not see T{next}'s append of {missed} to {key}")
            }
            Why::Process => {
                format!("process {} asked for it first", self.transactions[step.from].operation.process.0)
            }
            Why::RealTime => {
                let over = self.transactions[step.from].operation.completed_at.unwrap_or_default();
                let began = self.transactions[step.to].operation.invoked_at;
                format!(
                    "T{this} was over at {}, {} before T{next} began",
                    seconds(over),
                    duration(began.saturating_sub(over))
                )
            }
        }
    }

    /// `T1 = p0 n1: append x 1, r y []  0.900 s – 1.000 s  (lines 2, 3)`
    fn line(&self, number: usize, index: usize) -> String {
        let transaction = &self.transactions[index];
        let operation = transaction.operation;
        let node = operation.node.map_or_else(String::new, |node| format!(" {node}"));
        let ops: Vec<String> = transaction.ops.iter().map(ToString::to_string).collect();
        let invoke = self.history.locate(operation.invoke_event).line;
        let (end, lines) = match (operation.completed_at, operation.complete_event) {
            (Some(at), Some(event)) if operation.reply().is_some() || operation.failed() => {
                (seconds(at), format!("lines {invoke}, {}", self.history.locate(event).line))
            }
            _ => ("never returned".to_owned(), format!("line {invoke}")),
        };
        let failed = if operation.failed() { ", failed" } else { "" };
        format!(
            "  T{} = p{}{node}: {}  {} – {end}{failed}  ({lines})",
            number + 1,
            operation.process.0,
            clip(ops.join(", ")),
            seconds(operation.invoked_at),
        )
    }

    fn events(&self, told: &[usize]) -> Vec<EventRef> {
        let mut events = Vec::new();
        for &index in told {
            let operation = self.transactions[index].operation;
            events.push(self.history.locate(operation.invoke_event));
            events.extend(operation.complete_event.map(|event| self.history.locate(event)));
        }
        events.sort_unstable();
        events.dedup();
        events
    }
}

/// The cycle turned so that its last step is the one that a reader finds hardest to square with the others.
fn ending_with_the_oddest<'a>(steps: &[Step<Why<'a>>]) -> Vec<Step<Why<'a>>> {
    let oddness = |why: Why<'_>| match why {
        Why::ReadWrite { .. } => 4,
        Why::RealTime => 3,
        Why::Process => 2,
        Why::WriteRead { .. } => 1,
        Why::WriteWrite { .. } => 0,
    };
    let oddest = (0..steps.len()).max_by_key(|&i| oddness(steps[i].why)).expect("a cycle has steps");
    let mut turned = steps.to_vec();
    turned.rotate_left((oddest + 1) % steps.len());
    turned
}

fn list(values: &[Value]) -> String {
    clip(elements(values))
}

/// Long lists differ at their ends, long transactions are known by their beginning: both are kept.
fn clip(text: String) -> String {
    let length = text.chars().count();
    if length <= SHOWN_MAX {
        return text;
    }
    let start: String = text.chars().take(SHOWN_MAX / 3).collect();
    let end: String = text.chars().skip(length - SHOWN_MAX * 2 / 3).collect();
    format!("{start} … {end}")
}

fn duration(time: Time) -> String {
    match time {
        0..1_000 => format!("{time} ns"),
        1_000..1_000_000 => format!("{} µs", time / 1_000),
        _ => seconds(time),
    }
}
