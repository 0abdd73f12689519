//! What a run exercised, in figures: shown next to what was found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::history::{Completion, Event, FaultPhase, History, Outcome};
use crate::trace::{Role, Term, Trace, TraceEvent};

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Operations by how they ended.
    pub operations: OperationCounts,
    /// Elections won after the first one, by whatever node.
    pub leader_changes: u64,
    /// The highest term that any node entered.
    pub terms: Term,
    /// Injections by fault, in the order of names.
    pub faults: Vec<FaultCounts>,
}

/// Operations by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationCounts {
    /// They happened.
    pub ok: u64,
    /// They surely did not happen.
    pub fail: u64,
    /// Unknown, those still open at the end included.
    pub info: u64,
}

/// Injections of one fault by their receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounts {
    /// The fault.
    pub name: String,
    /// Evidence shows that it happened.
    pub installed: u64,
    /// It was not tried.
    pub skipped: u64,
    /// It was tried, and the evidence does not show that it happened.
    pub indeterminate: u64,
}

impl Summary {
    /// Counts what a run exercised.
    pub fn of(evidence: &Evidence) -> Summary {
        let (leader_changes, terms) = count_leaders(&evidence.traces);
        Summary {
            operations: count_operations(&evidence.history),
            leader_changes,
            terms,
            faults: count_faults(&evidence.history),
        }
    }
}

fn count_operations(history: &History) -> OperationCounts {
    let mut counts = OperationCounts::default();
    for operation in history.operations() {
        match operation.completion {
            Some(Completion::Ok(_)) => counts.ok += 1,
            Some(Completion::Fail { .. }) => counts.fail += 1,
            Some(Completion::Info { .. }) | None => counts.info += 1,
        }
    }
    counts
}

fn count_leaders(traces: &[Trace]) -> (u64, Term) {
    let mut elections: u64 = 0;
    let mut highest = 0;
    for line in traces.iter().flat_map(Trace::lines) {
        match line.event {
            TraceEvent::Role { role: Role::Leader, term } => {
                elections += 1;
                highest = highest.max(term);
            }
            TraceEvent::Term { term } | TraceEvent::Boot { term, .. } => highest = highest.max(term),
            _ => {}
        }
    }
    (elections.saturating_sub(1), highest)
}

fn count_faults(history: &History) -> Vec<FaultCounts> {
    let mut faults: BTreeMap<&str, FaultCounts> = BTreeMap::new();
    for event in history.events() {
        let Event::Fault { fault, phase: FaultPhase::Inject, receipt, .. } = event else { continue };
        let counts = faults
            .entry(fault)
            .or_insert_with(|| FaultCounts { name: fault.clone(), ..FaultCounts::default() });
        match receipt.outcome {
            Outcome::Installed => counts.installed += 1,
            Outcome::Skipped => counts.skipped += 1,
            Outcome::Indeterminate => counts.indeterminate += 1,
        }
    }
    faults.into_values().collect()
}
