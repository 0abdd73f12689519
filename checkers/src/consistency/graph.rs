//! "Must come before", as a directed graph, and its shortest cycles. Small and without recursion, so that a
//! million operations in a chain are no trouble.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// A graph over the nodes 0 to n − 1, whose edges say why.
pub(super) struct Graph<E> {
    edges: Vec<Vec<(usize, E)>>,
}

/// One step of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step<E> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) why: E,
}

/// No node.
const NONE: usize = usize::MAX;

impl<E: Copy + PartialEq> Graph<E> {
    pub(super) fn new(nodes: usize) -> Self {
        Graph { edges: vec![Vec::new(); nodes] }
    }

    /// `from` comes before `to`. What comes before itself is no news and left out.
    pub(super) fn add(&mut self, from: usize, to: usize, why: E) {
        // Duplicates come in a row; one that slips through does no harm.
        let mut recent = self.edges[from].iter().rev().take(4);
        if from != to && !recent.any(|edge| *edge == (to, why)) {
            self.edges[from].push((to, why));
        }
    }

    /// The nodes of each strongly connected component of at least two, over the edges that are `allowed`.
    /// Tarjan's algorithm with its own stack; the components and the nodes in them are sorted.
    pub(super) fn components(&self, allowed: impl Fn(E) -> bool) -> Vec<Vec<usize>> {
        let count = self.edges.len();
        let (mut order, mut low) = (vec![NONE; count], vec![0; count]);
        let mut on_stack = vec![false; count];
        let mut stack = Vec::new();
        let mut found = Vec::new();
        let mut next = 0;
        for root in 0..count {
            if order[root] != NONE {
                continue;
            }
            // Each frame: a node and the position of its next edge.
            let mut frames = vec![(root, 0)];
            while let Some(&mut (node, ref mut position)) = frames.last_mut() {
                if *position == 0 && order[node] == NONE {
                    (order[node], low[node]) = (next, next);
                    next += 1;
                    stack.push(node);
                    on_stack[node] = true;
                }
                if let Some(&(to, why)) = self.edges[node].get(*position) {
                    *position += 1;
                    if !allowed(why) {
                        continue;
                    }
                    if order[to] == NONE {
                        frames.push((to, 0));
                    } else if on_stack[to] {
                        low[node] = low[node].min(order[to]);
                    }
                    continue;
                }
                frames.pop();
                if let Some(&(parent, _)) = frames.last() {
                    low[parent] = low[parent].min(low[node]);
                }
                if low[node] == order[node] {
                    let start =
                        stack.iter().rposition(|&other| other == node).expect("a root is on the stack");
                    let mut component = stack.split_off(start);
                    component.iter().for_each(|&member| on_stack[member] = false);
                    if component.len() > 1 {
                        component.sort_unstable();
                        found.push(component);
                    }
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The shortest way from one node to another, over the edges that are `allowed`. At most `work` edges are
    /// looked at; what was used is subtracted.
    pub(super) fn path(
        &self,
        from: usize,
        to: usize,
        allowed: impl Fn(usize, E) -> bool,
        work: &mut u64,
    ) -> Option<Vec<Step<E>>> {
        let mut reached: HashMap<usize, Step<E>> = HashMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            for &(next, why) in &self.edges[node] {
                *work = work.checked_sub(1)?;
                if !allowed(next, why) || reached.contains_key(&next) {
                    continue;
                }
                reached.insert(next, Step { from: node, to: next, why });
                if next == to {
                    let mut way = Vec::new();
                    let mut end = to;
                    while way.is_empty() || end != from {
                        let step = reached[&end];
                        end = step.from;
                        way.push(step);
                    }
                    way.reverse();
                    return Some(way);
                }
                queue.push_back(next);
            }
        }
        None
    }

    /// A shortest cycle in a component, over the edges that are `allowed`. In a large component not every node
    /// is tried as its start, and the cycle is only short.
    pub(super) fn cycle(
        &self,
        component: &[usize],
        allowed: impl Fn(E) -> bool,
        work: &mut u64,
    ) -> Option<Vec<Step<E>>> {
        let inside = |node: usize, why| allowed(why) && component.binary_search(&node).is_ok();
        let mut best: Option<Vec<Step<E>>> = None;
        for &start in component.iter().take(STARTS_MAX) {
            if let Some(cycle) = self.path(start, start, inside, work)
                && best.as_ref().is_none_or(|best| cycle.len() < best.len())
            {
                best = Some(cycle);
            }
            if best.as_ref().is_some_and(|best| best.len() == 2) {
                break;
            }
        }
        best
    }

    /// All nodes in an order that keeps every edge, if there is one: the earliest possible node first.
    pub(super) fn order(&self) -> Option<Vec<usize>> {
        let mut waits_for = vec![0_usize; self.edges.len()];
        self.edges.iter().flatten().for_each(|&(to, _)| waits_for[to] += 1);
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..self.edges.len()).filter(|&node| waits_for[node] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(self.edges.len());
        while let Some(Reverse(node)) = ready.pop() {
            order.push(node);
            for &(to, _) in &self.edges[node] {
                waits_for[to] -= 1;
                if waits_for[to] == 0 {
                    ready.push(Reverse(to));
                }
            }
        }
        (order.len() == self.edges.len()).then_some(order)
    }

    /// The edges out of a node.
    pub(super) fn edges(&self, node: usize) -> &[(usize, E)] {
        &self.edges[node]
    }
}

/// Nodes of a component that are tried as the start of a cycle.
const STARTS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, edges: &[(usize, usize)]) -> Graph<u8> {
        let mut graph = Graph::new(nodes);
        edges.iter().for_each(|&(from, to)| graph.add(from, to, 0));
        graph
    }

    #[test]
    fn components_are_the_cycles_that_hang_together() {
        let graph = graph(7, &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (4, 5), (6, 5)]);
        assert_eq!(graph.components(|_| true), [vec![0, 1, 2], vec![3, 4]]);
        assert!(graph.components(|_| false).is_empty());
    }

    #[test]
    fn a_cycle_is_a_shortest_one() {
        let graph = graph(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (2, 0)]);
        let cycle = graph.cycle(&[0, 1, 2, 3, 4], |_| true, &mut 1_000).expect("there is one");
        let nodes: Vec<usize> = cycle.iter().map(|step| step.from).collect();
        assert_eq!(nodes, [0, 1, 2]);
        assert_eq!(cycle.last().map(|step| step.to), Some(0));
    }

    #[test]
    fn a_long_chain_overflows_no_stack() {
        let nodes = 300_000;
        let mut graph = Graph::new(nodes);
        (1..nodes).for_each(|node| graph.add(node - 1, node, 0));
        assert!(graph.components(|_| true).is_empty());
        assert_eq!(graph.order(), Some((0..nodes).collect()));
        graph.add(nodes - 1, 0, 0);
        assert_eq!(graph.order(), None);
        assert_eq!(graph.components(|_| true)[0].len(), nodes);
    }

    #[test]
    fn work_ends_a_search() {
        let graph = graph(3, &[(0, 1), (1, 2), (2, 0)]);
        assert!(graph.path(0, 0, |_, _| true, &mut 2).is_none());
        assert!(graph.path(0, 0, |_, _| true, &mut 3).is_some());
    }
}
