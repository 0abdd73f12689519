//! Is there an order of all operations that keeps each process's own and that the models of all keys allow?
//!
//! Depth-first over *configurations*: how far each process has come, and the state of each key. It keeps its own
//! stack and a memo of configurations, compared in full, so that a verdict rests on no hash. An operation that
//! never returned is the last of its process, and may be left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::finding::Budget;
use crate::history::{Operation, ProcessId};
use crate::model::{Held, Model, ObjectModel, RegisterView};

/// What the search found.
pub(super) enum Searched {
    /// An order, as positions in the operations given.
    Ordered(Vec<usize>),
    /// There is none.
    Impossible { configurations: u64 },
    /// The budget ended first.
    OutOfBudget { configurations: u64 },
}

/// Searches for an order.
pub(super) fn search<M: ObjectModel>(operations: &[&Operation], budget: Budget) -> Searched {
    Search::<M>::new(operations).run(budget)
}

/// Whether the order holds every operation that returned, each once, keeps the order of each process, and the
/// models allow each step. Shares nothing with the search but the model.
pub(super) fn replay<M: ObjectModel>(operations: &[&Operation], order: &[usize]) -> bool {
    let mut states: HashMap<&str, M> = HashMap::new();
    let mut last: HashMap<ProcessId, usize> = HashMap::new();
    let mut returned = 0;
    for &id in order {
        let operation = operations[id];
        // Operations are in the order of their invocations.
        if last.insert(operation.process, id).is_some_and(|before| before >= id) {
            return false;
        }
        let state = states.entry(operation.op.key().unwrap_or_default()).or_default();
        match operation.reply() {
            Some(reply) if !state.is_valid_step(&M::op(operation), reply) => return false,
            Some(_) => returned += 1,
            None => state.apply_unknown(&M::op(operation)),
        }
    }
    returned == operations.iter().filter(|operation| operation.reply().is_some()).count()
}

/// A smaller set of operations without an order. Only operations are dropped whose absence cannot make an order
/// impossible: whole keys, and those that change nothing.
pub(super) fn shrink<'a, M: ObjectModel>(operations: &[&'a Operation], budget: Budget) -> Vec<&'a Operation> {
    let mut core = operations.to_vec();
    let mut left = budget.configurations;
    let mut still_impossible = |candidate: &[&Operation]| {
        let searched = search::<M>(candidate, Budget { configurations: left, ..budget });
        let (Searched::Impossible { configurations } | Searched::OutOfBudget { configurations }) = searched
        else {
            return false;
        };
        left = left.saturating_sub(configurations.max(candidate.len() as u64));
        matches!(searched, Searched::Impossible { .. })
    };
    let keys: std::collections::BTreeSet<&str> =
        core.iter().filter_map(|operation| operation.op.key()).collect();
    for key in keys {
        let rest: Vec<_> = core.iter().copied().filter(|operation| operation.op.key() != Some(key)).collect();
        if still_impossible(&rest) {
            core = rest;
        }
    }
    let is_pure = |operation: &Operation| M::is_pure(&M::op(operation), operation.reply());
    let mut bite = core.len().div_ceil(2).max(1);
    loop {
        let mut position = 0;
        while position < core.len() {
            let end = (position + bite).min(core.len());
            let rest: Vec<_> = core
                .iter()
                .enumerate()
                .filter(|(id, operation)| !(position..end).contains(id) || !is_pure(operation))
                .map(|(_, operation)| *operation)
                .collect();
            if rest.len() < core.len() && still_impossible(&rest) {
                core = rest;
            } else {
                position = end;
            }
        }
        if bite == 1 {
            return core;
        }
        bite = bite.div_ceil(2);
    }
}

struct Item<'a, M: Model> {
    id: usize,
    operation: &'a Operation,
    op: M::Op,
    key: usize,
    is_pure: bool,
    /// The value that it surely needs, and the one that it can leave, if the key is a register.
    needs: Option<Held>,
    leaves: Option<Held>,
}

struct Search<'a, M: Model> {
    /// The operations of each process, in its order.
    processes: Vec<Vec<Item<'a, M>>>,
    position: Vec<usize>,
    /// The state of each key, as a number.
    state: Vec<u32>,
    ids: HashMap<M, u32>,
    states: Vec<M>,
    /// For each key and value how many operations left need it and how many can leave it; `None` for a key of
    /// which not all is known.
    debts: Vec<Option<HashMap<Held, (u32, u32)>>>,
    memo: HashSet<Box<[u32]>>,
    stack: Vec<Step>,
    /// Operations that returned and are not in the order yet.
    left: usize,
}

struct Step {
    process: usize,
    state_before: u32,
    /// Which of the possible choices it was; `None` if it had to be.
    rank: Option<usize>,
}

impl<'a, M: ObjectModel> Search<'a, M> {
    fn new(operations: &[&'a Operation]) -> Self {
        let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
        let mut processes: BTreeMap<ProcessId, Vec<Item<'a, M>>> = BTreeMap::new();
        let mut debts: Vec<Option<HashMap<Held, (u32, u32)>>> = Vec::new();
        for (id, &operation) in operations.iter().enumerate() {
            let fresh = keys.len();
            let key = *keys.entry(operation.op.key().unwrap_or_default()).or_insert(fresh);
            if key == fresh {
                debts.push(M::default().register_value().map(|_| HashMap::new()));
            }
            let op = M::op(operation);
            let view = M::register_view(&op, operation.reply());
            let is_pure = M::is_pure(&op, operation.reply());
            if operation.reply().is_none() && is_pure {
                continue;
            }
            let needs = operation.reply().and(view.needs());
            let leaves = match view {
                RegisterView::Clear => Some(None),
                _ => view.writes().map(Some),
            };
            if view == RegisterView::Opaque {
                debts[key] = None;
            }
            if let Some(debts) = &mut debts[key] {
                needs.iter().for_each(|held| debts.entry(*held).or_default().0 += 1);
                leaves.iter().for_each(|held| debts.entry(*held).or_default().1 += 1);
            }
            let item = Item { id, operation, op, key, is_pure, needs, leaves };
            processes.entry(operation.process).or_default().push(item);
        }
        let processes: Vec<_> = processes.into_values().collect();
        Search {
            position: vec![0; processes.len()],
            processes,
            state: vec![0; keys.len()],
            ids: HashMap::from([(M::default(), 0)]),
            states: vec![M::default()],
            debts,
            memo: HashSet::new(),
            stack: Vec::new(),
            left: operations.iter().filter(|operation| operation.reply().is_some()).count(),
        }
    }

    fn run(mut self, budget: Budget) -> Searched {
        self.take_pure();
        let mut rank = 0;
        while self.left > 0 {
            let configurations = self.memo.len() as u64;
            let entry_bytes = 4 * (self.position.len() + self.state.len()) + 48;
            let bytes = configurations * entry_bytes as u64 + (self.states.len() * 2 * size_of::<M>()) as u64;
            if configurations >= budget.configurations || bytes > budget.bytes {
                return Searched::OutOfBudget { configurations };
            }
            let choices = self.choices();
            if let Some(taken) = (rank..choices.len()).find(|&rank| self.try_step(choices[rank], rank)) {
                debug_assert!(taken >= rank);
                self.take_pure();
                rank = 0;
            } else {
                match self.backtrack() {
                    Some(tried) => rank = tried + 1,
                    None => return Searched::Impossible { configurations },
                }
            }
        }
        let mut position = vec![0; self.processes.len()];
        let order = self.stack.iter().map(|step| {
            position[step.process] += 1;
            self.processes[step.process][position[step.process] - 1].id
        });
        Searched::Ordered(order.collect())
    }

    /// The processes that have something left, in the order of its invocation: real time is a good guess.
    fn choices(&self) -> Vec<usize> {
        let head = |process: usize| self.processes[process].get(self.position[process]);
        let mut choices: Vec<usize> = (0..self.processes.len()).filter(|&p| head(p).is_some()).collect();
        choices.sort_by_key(|&process| head(process).map(|item| item.id));
        choices
    }

    fn step(&mut self, process: usize) -> Option<u32> {
        let item = &self.processes[process][self.position[process]];
        let mut after = self.states[self.state[item.key] as usize].clone();
        match item.operation.reply() {
            Some(reply) if !after.is_valid_step(&item.op, reply) => return None,
            Some(_) => {}
            None => after.apply_unknown(&item.op),
        }
        if let Some(&id) = self.ids.get(&after) {
            return Some(id);
        }
        let id = u32::try_from(self.states.len()).expect("the budget ends a search before 2³² states");
        self.states.push(after.clone());
        self.ids.insert(after, id);
        Some(id)
    }

    /// Orders the next operation of a process if it is possible here and leads to something new.
    fn try_step(&mut self, process: usize, rank: usize) -> bool {
        let Some(state) = self.step(process) else { return false };
        let item = &self.processes[process][self.position[process]];
        let before = self.state[item.key];
        // What never returned and does nothing here is better left out, and may still be used later.
        if item.operation.reply().is_none() && state == before {
            return false;
        }
        if state != before && self.leaves_a_debt(item) {
            return false;
        }
        let key = item.key;
        self.state[key] = state;
        self.position[process] += 1;
        let positions = self.position.iter().map(|&p| u32::try_from(p).expect("a history fits in memory"));
        let configuration: Box<[u32]> = positions.chain(self.state.iter().copied()).collect();
        self.state[key] = before;
        self.position[process] -= 1;
        if !self.memo.insert(configuration) {
            return false;
        }
        self.push(process, state, Some(rank));
        true
    }

    /// Whether the operation would overwrite a value that is still needed and can never come back. Sound as it
    /// is for linearizability: after this step the debt could not be paid.
    fn leaves_a_debt(&self, item: &Item<'_, M>) -> bool {
        let (Some(debts), Some(held)) =
            (&self.debts[item.key], self.states[self.state[item.key] as usize].register_value())
        else {
            return false;
        };
        let (owed, writers) = debts.get(&held).copied().unwrap_or_default();
        owed > u32::from(item.needs == Some(held)) && writers == 0
    }

    /// Orders every operation at the head of its process that is possible and changes nothing. Sound: in any
    /// order that follows it can be moved to the front, since it is possible here, changes no state, and its
    /// process has nothing before it.
    fn take_pure(&mut self) {
        let mut process = 0;
        while process < self.processes.len() {
            let is_pure =
                self.processes[process].get(self.position[process]).is_some_and(|item| item.is_pure);
            match if is_pure { self.step(process) } else { None } {
                Some(state) => self.push(process, state, None),
                None => process += 1,
            }
        }
    }

    fn push(&mut self, process: usize, state: u32, rank: Option<usize>) {
        let item = &self.processes[process][self.position[process]];
        let state_before = std::mem::replace(&mut self.state[item.key], state);
        self.left -= usize::from(item.operation.reply().is_some());
        if let Some(debts) = &mut self.debts[item.key] {
            item.needs.iter().for_each(|held| debts.entry(*held).or_default().0 -= 1);
            item.leaves.iter().for_each(|held| debts.entry(*held).or_default().1 -= 1);
        }
        self.position[process] += 1;
        self.stack.push(Step { process, state_before, rank });
    }

    /// Takes back the last choice and all that followed from it; returns which choice it was.
    fn backtrack(&mut self) -> Option<usize> {
        while let Some(Step { process, state_before, rank }) = self.stack.pop() {
            self.position[process] -= 1;
            let item = &self.processes[process][self.position[process]];
            self.state[item.key] = state_before;
            self.left += usize::from(item.operation.reply().is_some());
            if let Some(debts) = &mut self.debts[item.key] {
                item.needs.iter().for_each(|held| debts.entry(*held).or_default().0 += 1);
                item.leaves.iter().for_each(|held| debts.entry(*held).or_default().1 += 1);
            }
            if rank.is_some() {
                return rank;
            }
        }
        None
    }
}
