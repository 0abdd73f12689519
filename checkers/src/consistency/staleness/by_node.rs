//! How old the reads of each node were. A process asks one node only, so what was stale is the node's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::history::{NodeId, Operation, Time};

/// The reads of each node.
#[derive(Default)]
pub(super) struct ByNode {
    of: BTreeMap<NodeId, Reads>,
}

#[derive(Default)]
struct Reads {
    all: usize,
    stale: usize,
    oldest: Time,
}

impl ByNode {
    pub(super) fn add(&mut self, read: &Operation, age: Time) {
        let Some(node) = read.node else { return };
        let reads = self.of.entry(node).or_default();
        reads.all += 1;
        reads.stale += usize::from(age > 0);
        reads.oldest = reads.oldest.max(age);
    }

    /// Whose reads were stale, the most first: ` (n3 41 of 400, n1 2 of 390)`.
    pub(super) fn told(&self) -> String {
        let mut guilty: Vec<_> = self.of.iter().filter(|(_, reads)| reads.stale > 0).collect();
        guilty.sort_by_key(|(node, reads)| (Reverse(reads.stale), **node));
        let told = guilty.iter().map(|(node, reads)| format!("{node} {} of {}", reads.stale, reads.all));
        let told: Vec<String> = told.collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
    }

    /// What was counted, by name.
    pub(super) fn checked(&self) -> Vec<(String, usize)> {
        let of_node = |(node, reads): (&NodeId, &Reads)| {
            [
                (format!("{node} stale reads"), reads.stale),
                (format!("{node} oldest read ms"), (reads.oldest / 1_000_000) as usize),
            ]
        };
        self.of.iter().flat_map(of_node).collect()
    }
}
