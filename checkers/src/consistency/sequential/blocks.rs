//! One register whose written values are unique: sequentially consistent or not, in linear time.
//!
//! A value, its writer and its readers form a *stage*: nothing else may stand between them. A compare-and-set
//! from a to b ties the stage of b directly behind that of a, and stages tied together are a *block*. Blocks are
//! contiguous in every order, so an order of the operations is an order of the blocks. If a process did
//! something in block A and later something in block B, A comes before B. The register is sequentially
//! consistent iff this relation has no cycle, the block of the initial value can be first, and inside the blocks
//! no process goes back: any order of the blocks that keeps the relation, with the writer of each stage first
//! and its readers in the order of their invocations, is then a witness.
//!
//! A write that never returned and whose value nobody needed is left out: nothing depends on it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::graph::{Graph, Step};
use crate::history::{Operation, ProcessId};
use crate::model::{Held, Model, Register, RegisterView, show};

/// What is known of one register.
pub(super) enum Blocks {
    /// An order, as positions in the operations given.
    Ordered(Vec<usize>),
    /// There is none.
    Impossible(Argument),
    /// Values repeat, or something is done to the register that has no place in a block.
    NotUnique,
}

/// Why there is no order; operations are given as positions.
pub(super) enum Argument {
    /// A value that nobody wrote was read or found.
    FromNowhere { reader: usize, value: u64 },
    /// Two compare-and-sets both replaced this value.
    TwoSuccessors { first: usize, second: usize, value: u64 },
    /// A process did the first before the second, and the value says the opposite.
    BackInBlock { earlier: usize, later: usize, earlier_value: Held, later_value: Held },
    /// Blocks that must each come before the next, named by their first values.
    Cycle { steps: Vec<Step<Why>>, values: Vec<Held> },
}

/// Why one block comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// One process did these in this order.
    Process { earlier: usize, later: usize },
    /// It is the initial value.
    Initial,
}

/// The place of an operation: block, stage in the block, and whether it reads the stage.
type Place = (usize, usize, bool);

/// Judges the operations of one key that did not fail, in the order of their invocations.
pub(super) fn judge(operations: &[&Operation]) -> Blocks {
    let Some(register) = Stages::of(operations) else { return Blocks::NotUnique };
    match register.order(operations) {
        Ok(order) => Blocks::Ordered(order),
        Err(argument) => Blocks::Impossible(argument),
    }
}

struct Stages {
    /// `None` for operations that were left out.
    views: Vec<Option<RegisterView>>,
    writers: BTreeMap<u64, usize>,
}

impl Stages {
    fn of(operations: &[&Operation]) -> Option<Stages> {
        let mut views = Vec::with_capacity(operations.len());
        for operation in operations {
            let reply = operation.reply();
            let view = Register::register_view(&operation.op, reply);
            match view {
                RegisterView::Read(_) | RegisterView::Write(_) | RegisterView::Swap { .. } => {
                    views.push(Some(view));
                }
                // A read whose reply nobody saw.
                _ if reply.is_none() && Register::is_pure(&operation.op, None) => views.push(None),
                _ => return None,
            }
        }
        drop_unneeded(operations, &mut views);
        let mut writers = BTreeMap::new();
        for (id, view) in views.iter().enumerate() {
            if let Some(value) = view.and_then(RegisterView::writes)
                && writers.insert(value, id).is_some()
            {
                return None;
            }
        }
        Some(Stages { views, writers })
    }

    fn order(&self, operations: &[&Operation]) -> Result<Vec<usize>, Argument> {
        let (places, values) = self.places()?;
        let mut graph = Graph::new(values.len());
        let mut last: HashMap<ProcessId, (usize, Place)> = HashMap::new();
        for (later, place) in places.iter().enumerate() {
            let Some(place) = *place else { continue };
            if let Some((earlier, before)) = last.insert(operations[later].process, (later, place)) {
                if before.0 != place.0 {
                    graph.add(before.0, place.0, Why::Process { earlier, later });
                } else if before > place {
                    let value = |id: usize| self.views[id].and_then(value_of).flatten();
                    return Err(Argument::BackInBlock {
                        earlier,
                        later,
                        earlier_value: value(earlier),
                        later_value: value(later),
                    });
                }
            }
        }
        (1..values.len()).for_each(|block| graph.add(0, block, Why::Initial));
        let Some(order) = graph.order() else {
            let component = &graph.components(|_| true)[0];
            let mut work = 4_000_000;
            let steps = graph.cycle(component, |_| true, &mut work).or_else(|| {
                let inside = |node: usize, _| component.binary_search(&node).is_ok();
                graph.path(component[0], component[0], inside, &mut { u64::MAX })
            });
            let steps = steps.expect("every node of a component lies on a cycle");
            return Err(Argument::Cycle { steps, values });
        };
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(position, &block)| rank[block] = position);
        let mut ordered: Vec<(usize, usize, bool, usize)> = places
            .iter()
            .enumerate()
            .filter_map(|(id, place)| place.map(|(block, stage, reads)| (rank[block], stage, reads, id)))
            .collect();
        ordered.sort_unstable();
        Ok(ordered.into_iter().map(|(.., id)| id).collect())
    }

    /// The place of each operation, and the first value of each block, that of the initial value first.
    fn places(&self) -> Result<(Vec<Option<Place>>, Vec<Held>), Argument> {
        let mut successors: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        for (id, view) in self.views.iter().enumerate() {
            if let Some(RegisterView::Swap { from, to }) = *view
                && let Some((_, first)) = successors.insert(from, (to, id))
            {
                return Err(Argument::TwoSuccessors { first, second: id, value: from });
            }
        }
        let mut stages: BTreeMap<Held, (usize, usize)> = BTreeMap::from([(None, (0, 0))]);
        let mut values = vec![None];
        for (&root, &writer) in &self.writers {
            if !matches!(self.views[writer], Some(RegisterView::Write(_))) {
                continue;
            }
            let block = values.len();
            values.push(Some(root));
            let (mut value, mut stage) = (root, 0);
            stages.insert(Some(value), (block, stage));
            // Each value has one writer, so a chain from a plain write never comes back to itself.
            while let Some(&(next, _)) = successors.get(&value) {
                (value, stage) = (next, stage + 1);
                stages.insert(Some(value), (block, stage));
            }
        }
        let place = |(id, view): (usize, &Option<RegisterView>)| -> Result<Option<Place>, Argument> {
            let Some(view) = *view else { return Ok(None) };
            let Some(held) = value_of(view) else { return Ok(None) };
            match stages.get(&held) {
                Some(&(block, stage)) => Ok(Some((block, stage, matches!(view, RegisterView::Read(_))))),
                // Read but not written, or at the end of a chain of compare-and-sets that begins nowhere.
                None => {
                    let value = view.needs().flatten().or(held).unwrap_or_default();
                    Err(Argument::FromNowhere { reader: id, value })
                }
            }
        };
        let places = self.views.iter().enumerate().map(place).collect::<Result<_, _>>()?;
        Ok((places, values))
    }
}

/// Leaves out what never returned and writes a value that nobody needs. Needed is what an operation that returned
/// needs, and what the writer of a needed value needs in turn.
fn drop_unneeded(operations: &[&Operation], views: &mut [Option<RegisterView>]) {
    let returned = |id: usize| operations[id].reply().is_some();
    let mut open: HashMap<u64, Vec<RegisterView>> = HashMap::new();
    let mut unexplored = Vec::new();
    for (id, view) in views.iter().enumerate() {
        let Some(view) = view else { continue };
        if returned(id) {
            unexplored.extend(view.needs().flatten());
        } else if let Some(value) = view.writes() {
            open.entry(value).or_default().push(*view);
        }
    }
    let mut needed = HashSet::new();
    while let Some(value) = unexplored.pop() {
        if needed.insert(value) {
            let writers = open.get(&value).into_iter().flatten();
            unexplored.extend(writers.filter_map(|view| view.needs().flatten()));
        }
    }
    for (id, slot) in views.iter_mut().enumerate() {
        if !returned(id) && slot.and_then(RegisterView::writes).is_some_and(|value| !needed.contains(&value))
        {
            *slot = None;
        }
    }
}

/// The value of the stage that the operation belongs to.
fn value_of(view: RegisterView) -> Option<Held> {
    match view {
        RegisterView::Read(held) => Some(held),
        _ => view.writes().map(Some),
    }
}

impl Argument {
    pub(super) fn title(&self) -> &'static str {
        match self {
            Argument::FromNowhere { .. } => "value from nowhere",
            Argument::TwoSuccessors { .. } => "lost update",
            Argument::BackInBlock { .. } | Argument::Cycle { .. } => "not sequential",
        }
    }

    pub(super) fn headline(&self, phrase: impl Fn(usize) -> String) -> String {
        match self {
            Argument::FromNowhere { reader, value } => {
                format!("{} needs {value}, which nobody wrote,", phrase(*reader))
            }
            Argument::TwoSuccessors { first, second, value } => {
                format!(
                    "{} and {} both replaced {value}, which was written once,",
                    phrase(*first),
                    phrase(*second)
                )
            }
            Argument::BackInBlock { earlier, later, .. } => {
                format!("{} came before {} in one process", phrase(*earlier), phrase(*later))
            }
            Argument::Cycle { steps, values } => {
                let names: Vec<String> = steps.iter().take(6).map(|step| show(values[step.from])).collect();
                format!("the values {} must each come before the next, in a circle,", names.join(", "))
            }
        }
    }

    pub(super) fn operations(&self) -> Vec<usize> {
        match self {
            Argument::FromNowhere { reader, .. } => vec![*reader],
            Argument::TwoSuccessors { first, second, .. } => vec![*first, *second],
            Argument::BackInBlock { earlier, later, .. } => vec![*earlier, *later],
            Argument::Cycle { steps, .. } => steps
                .iter()
                .flat_map(|step| match step.why {
                    Why::Process { earlier, later } => vec![earlier, later],
                    Why::Initial => Vec::new(),
                })
                .collect(),
        }
    }

    pub(super) fn reasons(&self, phrase: impl Fn(usize) -> String) -> Vec<String> {
        match self {
            Argument::FromNowhere { .. } => Vec::new(),
            Argument::TwoSuccessors { value, .. } => {
                vec![format!("the first of the two left another value, and {value} never came back")]
            }
            Argument::BackInBlock { earlier_value, later_value, .. } if earlier_value == later_value => {
                vec![format!("but {} must be written before it is read", show(*later_value))]
            }
            Argument::BackInBlock { earlier_value, later_value, .. } => {
                let (earlier, later) = (show(*earlier_value), show(*later_value));
                vec![format!(
                    "but {earlier} follows from {later} by compare-and-set, and {later} never came back"
                )]
            }
            Argument::Cycle { steps, values } => {
                let reason = |step: &Step<Why>| {
                    let (from, to) = (show(values[step.from]), show(values[step.to]));
                    match step.why {
                        Why::Process { earlier, later } => {
                            format!("{from} before {to}: {} came before {}", phrase(earlier), phrase(later))
                        }
                        Why::Initial => format!("{from} before {to}: the register starts as nil"),
                    }
                };
                steps.iter().map(reason).collect()
            }
        }
    }
}
