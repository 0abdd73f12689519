//! Which transaction must come before which, and why.

use std::collections::HashMap;

use super::super::graph::Graph;
use super::observed::{List, Observed};
use super::transactions::Transaction;
use crate::history::{ProcessId, Value};

/// Why one transaction must come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why<'a> {
    /// It appended first. `seen` is false if the later element was in no read at all.
    WriteWrite { key: &'a str, earlier: Value, later: Value, seen: bool },
    /// The other saw what it appended.
    WriteRead { key: &'a str, value: Value },
    /// It did not see what the other appended.
    ReadWrite { key: &'a str, missed: Value, seen: bool },
    /// The same process asked for it first.
    Process,
    /// It was over before the other began.
    RealTime,
}

/// Which orders count beside the dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orders {
    Process,
    RealTime,
}

/// The graph over the transactions that took effect.
pub(super) fn graph<'a>(
    transactions: &[Transaction<'_>],
    observed: &Observed<'a>,
    orders: Orders,
) -> Dependencies<'a> {
    let mut graph = Graph::new(transactions.len());
    for (&key, list) in &observed.lists {
        add_list(&mut graph, key, list);
    }
    let took_effect = |index: &usize| observed.took_effect[*index];
    let mut last: HashMap<ProcessId, usize> = HashMap::new();
    for index in (0..transactions.len()).filter(took_effect) {
        if let Some(before) = last.insert(transactions[index].operation.process, index) {
            graph.add(before, index, Why::Process);
        }
    }
    if orders == Orders::RealTime {
        add_real_time(&mut graph, transactions, &observed.took_effect);
    }
    Dependencies { graph, took_effect: observed.took_effect.clone() }
}

/// The dependencies.
pub(super) struct Dependencies<'a> {
    pub(super) graph: Graph<Why<'a>>,
    took_effect: Vec<bool>,
}

impl Dependencies<'_> {
    pub(super) fn edge_count(&self) -> usize {
        (0..self.took_effect.len()).map(|node| self.graph.edges(node).len()).sum()
    }

    /// An order of all transactions that took effect that keeps every dependency, if there is one.
    pub(super) fn order(&self) -> Option<Vec<usize>> {
        let order = self.graph.order()?;
        Some(order.into_iter().filter(|&index| self.took_effect[index]).collect())
    }
}

fn add_list<'a>(graph: &mut Graph<Why<'a>>, key: &'a str, list: &List<'a>) {
    for (pair, elements) in list.writers.windows(2).zip(list.longest.windows(2)) {
        let why = Why::WriteWrite { key, earlier: elements[0], later: elements[1], seen: true };
        graph.add(pair[0], pair[1], why);
    }
    if let (Some(&writer), Some(&earlier)) = (list.writers.last(), list.longest.last()) {
        for &(later_writer, later) in &list.unseen {
            graph.add(writer, later_writer, Why::WriteWrite { key, earlier, later, seen: false });
        }
    }
    for &(reader, length) in &list.reads {
        if let Some(last) = length.checked_sub(1) {
            graph.add(list.writers[last], reader, Why::WriteRead { key, value: list.longest[last] });
        }
        match list.writers.get(length) {
            Some(&writer) => {
                graph.add(reader, writer, Why::ReadWrite { key, missed: list.longest[length], seen: true });
            }
            None => {
                for &(writer, missed) in &list.unseen {
                    graph.add(reader, writer, Why::ReadWrite { key, missed, seen: false });
                }
            }
        }
    }
}

/// Edges from which the whole real-time order follows: to each transaction from those that were over when it
/// began, less those that were over before one of these began. At most one for each process at a time.
fn add_real_time(graph: &mut Graph<Why<'_>>, transactions: &[Transaction<'_>], took_effect: &[bool]) {
    // At one stamp beginnings come first: equal stamps mean concurrent.
    let mut moments = Vec::new();
    for (index, transaction) in transactions.iter().enumerate().filter(|(index, _)| took_effect[*index]) {
        moments.push((transaction.operation.invoked_at, 0, index));
        if let (true, Some(at)) = (transaction.has_committed(), transaction.operation.completed_at) {
            moments.push((at, 1, index));
        }
    }
    moments.sort_unstable();
    let mut over: Vec<usize> = Vec::new();
    let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
    for (_, ends, index) in moments {
        if ends == 0 {
            over.iter().for_each(|&earlier| graph.add(earlier, index, Why::RealTime));
            before.insert(index, over.clone());
        } else {
            let implied = before.remove(&index).unwrap_or_default();
            over.retain(|earlier| !implied.contains(earlier));
            over.push(index);
        }
    }
}
