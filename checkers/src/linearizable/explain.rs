//! Says in words why a core is not linearizable.
//!
//! A register whose values are each written once has a simple structure. All that has to do with a value, and
//! with the values swapped from it, is contiguous in any order: a *block*. If an operation of block A returned
//! before one of block B was invoked, then all of A comes before all of B. Two blocks that must come before
//! each other are the contradiction, and so the text; most cores are of this kind. What remains is shown as
//! the longest order there is and why nothing can follow it.

use std::collections::BTreeMap;

use super::call::Call;
use super::reductions::Reductions;
use super::search::{Outcome, search};
use crate::finding::{Anomaly, Budget, seconds};
use crate::history::{History, Op, Operation, Reply};
use crate::model::{Held, Model, Register, RegisterView, SequentialSpec, show};

/// The most operations that a text lists; with its reasons it stays within 15 lines.
const LISTED_MAX: usize = 8;

/// The anomaly that a core of the operations of a key proves.
pub(super) fn explain(
    history: &History,
    key: &str,
    operations: &[&Operation],
    core: &[Call<Register>],
) -> Anomaly {
    let story = Story { history, key, operations, core };
    let Argument { title, headline, reasons } = story
        .unwritten_value()
        .or_else(|| story.lost_update())
        .or_else(|| story.contradicting_blocks())
        .unwrap_or_else(|| story.no_order());
    let mut text = vec![headline];
    text.extend(story.listing());
    text.extend(reasons);
    let mut events: Vec<_> = core
        .iter()
        .flat_map(|call| {
            let operation = operations[call.id];
            std::iter::once(operation.invoke_event).chain(operation.complete_event)
        })
        .collect();
    events.sort_unstable();
    Anomaly { title: title.to_owned(), text, events: events.into_iter().map(|e| history.locate(e)).collect() }
}

/// What makes a core impossible.
struct Argument {
    /// The pattern, as the field calls it.
    title: &'static str,
    /// One line that suffices.
    headline: String,
    /// The steps of the argument.
    reasons: Vec<String>,
}

struct Story<'a> {
    history: &'a History,
    key: &'a str,
    /// All operations of the key, by the ids of the calls.
    operations: &'a [&'a Operation],
    core: &'a [Call<Register>],
}

fn view(call: &Call<Register>) -> RegisterView {
    Register::register_view(&call.op, call.ret.as_ref())
}

impl Story<'_> {
    /// Somebody saw a value that nobody had written by then.
    fn unwritten_value(&self) -> Option<Argument> {
        let (seer, value) = self.core.iter().find_map(|call| {
            let value = view(call).needs()??;
            let returned = call.returned?;
            let written = self.core.iter().any(|writer| {
                writer.id != call.id && view(writer).writes() == Some(value) && writer.invoked <= returned
            });
            (!written).then_some((call, value))
        })?;
        let saw = self.phrase(self.operations[seer.id]);
        let on = format!("{saw} on {}{}", self.key, self.through(seer));
        let writers: Vec<&Operation> =
            self.operations.iter().copied().filter(|operation| can_write(&operation.op, value)).collect();
        if let Some(argument) = self.overwritten(seer, value, &writers) {
            return Some(argument);
        }
        let (title, why) = match writers.first() {
            None => ("value from nowhere", format!("but nobody ever tried to write {value}")),
            Some(writer) if writers.iter().all(|writer| had_no_effect(writer)) => (
                "aborted read",
                format!(
                    "but {}, its only writer, had no effect ({})",
                    self.phrase(writer),
                    self.lines(writer)
                ),
            ),
            Some(writer) => (
                "read from the future",
                format!(
                    "but {} began only at {} ({})",
                    self.phrase(writer),
                    self.invoked(writer),
                    self.lines(writer)
                ),
            ),
        };
        Some(Argument { title, headline: format!("{on}, {why}"), reasons: Vec::new() })
    }

    /// Whoever wrote the value had returned before another was written, and that had returned before it was seen.
    fn overwritten(&self, seer: &Call<Register>, value: u64, writers: &[&Operation]) -> Option<Argument> {
        let by = self.core.iter().find(|call| {
            matches!(view(call), RegisterView::Write(_)) && call.returned.is_some_and(|at| at < seer.invoked)
        })?;
        let earlier =
            |writer: &&&Operation| Some(writer.invoked_at) <= seer.returned && !had_no_effect(writer);
        let last = writers.iter().filter(earlier).max_by_key(|writer| writer.completed_at)?;
        let (late, write) = (self.operations[seer.id], self.operations[by.id]);
        let headline = format!(
            "{} on {}{} began after {} had returned",
            self.phrase(late),
            self.key,
            self.through(seer),
            self.phrase(write),
        );
        let all = writers.iter().filter(earlier).count();
        let wrote = if all == 1 {
            format!("{value} was written once, by {}", self.phrase(last))
        } else {
            format!("{value} was written {all} times by then, at last by {}", self.phrase(last))
        };
        let reasons = vec![
            format!("{wrote}, which returned at {} ({})", self.completed(last), self.lines(last)),
            format!("{} overwrote it: it began only at {}", self.phrase(write), self.invoked(write)),
        ];
        Some(Argument { title: "stale read", headline, reasons })
    }

    /// Two compare-and-sets both succeeded on a value that was written once.
    fn lost_update(&self) -> Option<Argument> {
        let writers = self.writers()?;
        let mut swaps: BTreeMap<u64, &Call<Register>> = BTreeMap::new();
        for call in self.core.iter().filter(|call| call.returned.is_some()) {
            let RegisterView::Swap { from, .. } = view(call) else { continue };
            let Some(first) = swaps.insert(from, call) else { continue };
            let (first, second) = (self.operations[first.id], self.operations[call.id]);
            let source = writers.get(&from).map_or_else(
                || format!("{from} was never written"),
                |writer| format!("{from} was written once, by {}", self.phrase(self.operations[writer.id])),
            );
            return Some(Argument {
                title: "lost update",
                headline: format!(
                    "{} and {} on {} both succeeded, but {source}",
                    self.phrase(first),
                    self.phrase(second),
                    self.key,
                ),
                reasons: vec![format!("whichever came first left another value than {from} to the other")],
            });
        }
        None
    }

    /// Two blocks must each come before the other, or the order within one block is broken.
    fn contradicting_blocks(&self) -> Option<Argument> {
        // Blocks exist only where every value has one writer, and so has nil: the beginning.
        let is_plain = |call: &Call<Register>| {
            !matches!(view(call), RegisterView::Differs(_) | RegisterView::Clear | RegisterView::Opaque)
        };
        if !self.core.iter().all(is_plain) {
            return None;
        }
        let blocks = self.blocks()?;
        for (index, a) in blocks.iter().enumerate() {
            if let Some(argument) = self.broken_chain(a) {
                return Some(argument);
            }
            for b in &blocks[index + 1..] {
                // The initial value needs no writer: it comes before every other block.
                let a_first = a.is_initial || precedes(a.first_return, b.last_call);
                let b_first = precedes(b.first_return, a.last_call);
                if a_first && b_first {
                    return Some(self.contradiction(a, b));
                }
            }
        }
        None
    }

    fn contradiction(&self, a: &Block<'_>, b: &Block<'_>) -> Argument {
        // The operation that came last is the one that saw the world out of order. The initial value can only
        // have been seen too late.
        let invoked = |block: &Block<'_>| block.last_call.map(|call| call.invoked);
        let (stale, fresh) = if a.is_initial || invoked(a) > invoked(b) { (a, b) } else { (b, a) };
        let late = stale.last_call.expect("a block that must come first has an operation that came last");
        let cause = fresh.first_return.expect("a block that comes before another has a return");
        let late_operation = self.operations[late.id];
        let title = match (view(late), fresh.stages.as_slice()) {
            (RegisterView::Read(_), [stage]) if self.is_lost(stage, late) => "lost write",
            (RegisterView::Read(_), _) => "stale read",
            (RegisterView::Swap { .. }, _) => "lost update",
            (
                RegisterView::Write(_)
                | RegisterView::Differs(_)
                | RegisterView::Clear
                | RegisterView::Opaque,
                _,
            ) => "not linearizable",
        };
        let headline = format!(
            "{} on {}{} began after {} had returned",
            self.phrase(late_operation),
            self.key,
            self.through(late),
            self.phrase(self.operations[cause.id]),
        );
        let mut reasons: Vec<String> = self.links(a);
        reasons.extend(self.links(b));
        reasons.push(self.reason(a, b));
        reasons.push(self.reason(b, a));
        reasons.push(format!("so {} and {} must each come before the other", a.label(), b.label()));
        Argument { title, headline, reasons }
    }

    /// Why `before` comes before `after`.
    fn reason(&self, before: &Block<'_>, after: &Block<'_>) -> String {
        let labels = format!("{} before {}", before.label(), after.label());
        if before.is_initial {
            return format!("{labels}: the register starts as nil, and nobody writes nil");
        }
        let early = before.first_return.expect("a block that comes before another has a return");
        let late = after.last_call.expect("a block that comes after another has an invocation");
        self.real_time(&labels, early, late)
    }

    fn real_time(&self, labels: &str, early: &Call<Register>, late: &Call<Register>) -> String {
        let (early, late) = (self.operations[early.id], self.operations[late.id]);
        let (returned, began) = (self.completed(early), self.invoked(late));
        let (early_is, late_is) = (self.phrase(early), self.phrase(late));
        if returned == began {
            // Alike to the millisecond, which is not what decides.
            let gap_ns = late.invoked_at - early.completed_at.unwrap_or(late.invoked_at);
            let gap = if gap_ns < 1_000 { format!("{gap_ns} ns") } else { format!("{} µs", gap_ns / 1_000) };
            return format!("{labels}: {early_is} returned at {returned}, {gap} before {late_is} began");
        }
        format!("{labels}: {early_is} returned at {returned}, before {late_is} began at {began}")
    }

    /// Within a block the values follow each other by the swaps; real time must not say otherwise.
    fn broken_chain(&self, block: &Block<'_>) -> Option<Argument> {
        for (index, earlier) in block.stages.iter().enumerate() {
            for later in &block.stages[index + 1..] {
                let first_return = first_return(later.calls.iter().copied());
                let last_call = last_call(earlier.calls.iter().copied());
                if !precedes(first_return, last_call) {
                    continue;
                }
                let (early, late) = (first_return?, last_call?);
                let mut reasons = self.links(block);
                let labels = format!("{} before {}", show(later.value), show(earlier.value));
                reasons.push(self.real_time(&labels, early, late));
                let title = match view(late) {
                    RegisterView::Read(_) if self.is_lost(later, late) => "lost write",
                    RegisterView::Read(_) => "stale read",
                    RegisterView::Write(_)
                    | RegisterView::Swap { .. }
                    | RegisterView::Differs(_)
                    | RegisterView::Clear
                    | RegisterView::Opaque => "not linearizable",
                };
                let headline = format!(
                    "{} on {}{} began after {} had returned",
                    self.phrase(self.operations[late.id]),
                    self.key,
                    self.through(late),
                    self.phrase(self.operations[early.id]),
                );
                return Some(Argument { title, headline, reasons });
            }
        }
        None
    }

    /// The swaps that tie a block together.
    fn links(&self, block: &Block<'_>) -> Vec<String> {
        let link = |pair: &[Stage<'_>]| {
            let (from, to) = (show(pair[0].value), show(pair[1].value));
            let swap = pair[1].writer.map_or_else(String::new, |call| self.phrase(self.operations[call.id]));
            format!("{to} follows {from} at once: {swap}")
        };
        block.stages.windows(2).map(link).take(2).collect()
    }

    /// The longest order there is, and why nothing can follow it.
    fn no_order(&self) -> Argument {
        let initial = Register::default();
        let searched = search(&initial, self.core, Budget::default(), Reductions::NONE);
        let longest = match searched.outcome {
            Outcome::NotLinearizable(order) | Outcome::OutOfBudget(order) | Outcome::Linearizable(order) => {
                order
            }
        };
        let mut state = initial;
        let mut names = Vec::new();
        for &position in &longest {
            let call = &self.core[position];
            match &call.ret {
                Some(_) => drop(state.invoke(&call.op)),
                None => state.apply_unknown(&call.op),
            }
            names.push(self.phrase(self.operations[call.id]));
        }
        // The order of a core that the budget left large is long; what matters is where it ends.
        let left_out = names.len().saturating_sub(LISTED_MAX);
        let shown = if names.is_empty() { "none".to_owned() } else { names[left_out..].join("; ") };
        let mut reasons = vec![if left_out == 0 {
            format!("the longest order that fits is: {shown}")
        } else {
            format!("the longest order that fits has {} operations; the last ones are: {shown}", names.len())
        }];
        let stuck = (0..self.core.len())
            .filter(|position| !longest.contains(position))
            .map(|position| &self.core[position]);
        for call in stuck.take(3) {
            if let Some(ret) = &call.ret
                && !state.clone().is_valid_step(&call.op, ret)
            {
                reasons.push(format!(
                    "then {} is impossible: {}",
                    self.phrase(self.operations[call.id]),
                    state.explain(&call.op, ret)
                ));
            }
        }
        let headline = format!("no order explains these {} operations on {}", self.core.len(), self.key);
        Argument { title: "not linearizable", headline, reasons }
    }

    /// Whether a write left no trace: nobody ever saw it, and nothing else was written that could have hidden
    /// it from the read.
    fn is_lost(&self, fresh: &Stage<'_>, late: &Call<Register>) -> bool {
        let (Some(value), Some(writer)) = (fresh.value, fresh.writer) else { return false };
        let seen = self.operations.iter().any(|operation| needs(operation) == Some(Some(value)));
        let hidden = self.operations.iter().any(|operation| {
            !matches!(operation.op, Op::Read { .. })
                && !had_no_effect(operation)
                && !can_write(&operation.op, value)
                && operation.invoked_at <= late.returned.unwrap_or(u64::MAX)
                && operation.completed_at.is_none_or(|completed| completed >= writer.invoked)
        });
        !seen && !hidden
    }

    /// The writer of each value, if no value has two.
    fn writers(&self) -> Option<BTreeMap<u64, &Call<Register>>> {
        let mut writers = BTreeMap::new();
        for call in self.core {
            if let Some(value) = view(call).writes()
                && writers.insert(value, call).is_some()
            {
                return None;
            }
        }
        Some(writers)
    }

    /// The blocks of the core, the initial value's first; `None` if they are not determined.
    fn blocks(&self) -> Option<Vec<Block<'_>>> {
        let writers = self.writers()?;
        let mut successors: BTreeMap<u64, u64> = BTreeMap::new();
        for call in self.core {
            if let RegisterView::Swap { from, to } = view(call)
                && successors.insert(from, to).is_some()
            {
                return None;
            }
        }
        let roots = writers.iter().filter(|(_, call)| matches!(view(call), RegisterView::Write(_)));
        let roots = std::iter::once(None).chain(roots.map(|(&value, _)| Some(value)));
        let mut blocks = Vec::new();
        for root in roots {
            let mut stages = vec![self.stage(root, &writers)];
            let mut last = root;
            while let Some(next) = last.and_then(|value| successors.get(&value)) {
                last = Some(*next);
                if stages.len() > writers.len() {
                    return None;
                }
                stages.push(self.stage(last, &writers));
            }
            let calls = || stages.iter().flat_map(|stage| stage.calls.iter().copied());
            let (first_return, last_call) = (first_return(calls()), last_call(calls()));
            blocks.push(Block { is_initial: root.is_none(), first_return, last_call, stages });
        }
        Some(blocks)
    }

    fn stage<'s>(&'s self, value: Held, writers: &BTreeMap<u64, &'s Call<Register>>) -> Stage<'s> {
        let writer = value.and_then(|value| writers.get(&value).copied());
        let belongs = |call: &&Call<Register>| match view(call) {
            RegisterView::Read(held) => held == value,
            RegisterView::Write(written) | RegisterView::Swap { to: written, .. } => Some(written) == value,
            RegisterView::Differs(_) | RegisterView::Clear | RegisterView::Opaque => false,
        };
        Stage { value, writer, calls: self.core.iter().filter(belongs).collect() }
    }

    /// The operations of the core as a table, in the order of their invocations.
    fn listing(&self) -> Vec<String> {
        let mut operations: Vec<&Operation> = self.core.iter().map(|call| self.operations[call.id]).collect();
        operations.sort_by_key(|operation| operation.invoke_event);
        let rows = operations.iter().take(LISTED_MAX).map(|operation| {
            let node = operation.node.map_or_else(|| "-".to_owned(), |node| node.to_string());
            let end = match operation.reply() {
                Some(_) => self.completed(operation),
                None => "never returned".to_owned(),
            };
            format!(
                "  p{:<3} {node:<3} {:<24} {} – {end}  ({})",
                operation.process.0,
                what(operation),
                self.invoked(operation),
                self.lines(operation),
            )
        });
        let mut rows: Vec<String> = rows.collect();
        if operations.len() > LISTED_MAX {
            rows.push(format!("  … and {} more", operations.len() - LISTED_MAX));
        }
        rows
    }

    fn phrase(&self, operation: &Operation) -> String {
        let process = operation.process.0;
        match (&operation.op, operation.reply()) {
            (Op::Read { .. }, Some(Reply::Read { value })) => {
                format!("p{process}'s read of {}", show(*value))
            }
            (Op::Read { .. }, _) => format!("p{process}'s read"),
            (Op::Write { value, .. }, _) => format!("p{process}'s write of {value}"),
            (Op::Cas { from, to, .. }, Some(Reply::NotSwapped { seen })) => {
                format!("p{process}'s refused cas from {from} to {to}, which saw {}", show(*seen))
            }
            (Op::Cas { from, to, .. }, Some(Reply::Mismatch)) => {
                format!("p{process}'s refused cas from {from} to {to}")
            }
            (Op::Cas { from, to, .. }, _) => format!("p{process}'s cas from {from} to {to}"),
            (other, _) => format!("p{process}'s {other}"),
        }
    }

    fn through(&self, call: &Call<Register>) -> String {
        self.operations[call.id].node.map_or_else(String::new, |node| format!(" through {node}"))
    }

    fn invoked(&self, operation: &Operation) -> String {
        seconds(operation.invoked_at)
    }

    fn completed(&self, operation: &Operation) -> String {
        operation.completed_at.map_or_else(|| "no time".to_owned(), seconds)
    }

    fn lines(&self, operation: &Operation) -> String {
        let invoke = self.history.locate(operation.invoke_event).line;
        match operation.complete_event {
            Some(event) => format!("lines {invoke}, {}", self.history.locate(event).line),
            None => format!("line {invoke}"),
        }
    }
}

/// A value and the swaps that follow from it, each at once after the one before.
struct Block<'a> {
    is_initial: bool,
    stages: Vec<Stage<'a>>,
    /// The operation that returned first.
    first_return: Option<&'a Call<Register>>,
    /// The operation that was invoked last.
    last_call: Option<&'a Call<Register>>,
}

impl Block<'_> {
    fn label(&self) -> String {
        let values: Vec<String> = self.stages.iter().map(|stage| show(stage.value)).collect();
        values.join("→")
    }
}

/// A value, its writer and all who saw it.
struct Stage<'a> {
    value: Held,
    writer: Option<&'a Call<Register>>,
    calls: Vec<&'a Call<Register>>,
}

fn first_return<'a>(calls: impl Iterator<Item = &'a Call<Register>>) -> Option<&'a Call<Register>> {
    calls.filter(|call| call.returned.is_some()).min_by_key(|call| call.returned)
}

fn last_call<'a>(calls: impl Iterator<Item = &'a Call<Register>>) -> Option<&'a Call<Register>> {
    calls.max_by_key(|call| call.invoked)
}

fn precedes(early: Option<&Call<Register>>, late: Option<&Call<Register>>) -> bool {
    match (early.and_then(|call| call.returned), late) {
        (Some(returned), Some(late)) => returned < late.invoked,
        _ => false,
    }
}

fn can_write(op: &Op, wanted: u64) -> bool {
    match *op {
        Op::Write { value, .. } | Op::Cas { to: value, .. } => value == wanted,
        _ => false,
    }
}

fn had_no_effect(operation: &Operation) -> bool {
    operation.failed() || matches!(operation.reply(), Some(Reply::NotSwapped { .. } | Reply::Mismatch))
}

fn needs(operation: &Operation) -> Option<Held> {
    let reply = operation.reply()?;
    Register::register_view(&operation.op, Some(reply)).needs()
}

fn what(operation: &Operation) -> String {
    match (&operation.op, operation.reply()) {
        (Op::Read { .. }, Some(Reply::Read { value })) => format!("read → {}", show(*value)),
        (Op::Cas { from, to, .. }, Some(Reply::NotSwapped { seen })) => {
            format!("cas {from} {to} → saw {}", show(*seen))
        }
        (Op::Cas { from, to, .. }, Some(Reply::Mismatch)) => format!("cas {from} {to} → refused"),
        (op, _) => op.to_string(),
    }
}
