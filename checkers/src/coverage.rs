//! Coverage: a run that exercised too little proves too little.
//!
//! A cluster that answers nothing breaks no rule, and a fault that missed hurt nobody. Such a run is unknown,
//! with what it lacked; it is never valid.

use crate::evidence::Evidence;
use crate::finding::{Anomaly, Budget, Checker, Finding, Verdict, count, seconds};
use crate::history::{Event, FaultPhase, History, Outcome, Phase};
use crate::situations;
use crate::summary::{FaultCounts, OperationCounts, Summary};

/// Enough happened for the other verdicts to mean something.
pub struct Coverage;

impl Checker for Coverage {
    fn name(&self) -> &'static str {
        "coverage"
    }

    fn about(&self) -> &'static str {
        "operations of each kind succeeded, faults were installed, situations aimed at were reached, and the run ended"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        let summary = Summary::of(evidence);
        let expected = &evidence.expectations;
        let history = &evidence.history;
        let mut lacks = Vec::new();

        for &kind in &expected.operation_kinds {
            let succeeded = |operation: &&crate::history::Operation| operation.reply().is_some();
            let mut of_kind = history.operations().iter().filter(|operation| operation.op.kind() == kind);
            if !of_kind.any(|operation| succeeded(&operation)) {
                lacks.push(format!("no {kind} succeeded"));
            }
        }
        if summary.operations.ok < expected.ok_operations_min {
            lacks.push(format!(
                "{} succeeded, needed {}",
                count(summary.operations.ok as usize, "operation"),
                expected.ok_operations_min
            ));
        }
        for fault in &expected.faults {
            let nothing = FaultCounts { name: fault.name.clone(), ..FaultCounts::default() };
            let counts = summary.faults.iter().find(|counts| counts.name == fault.name).unwrap_or(&nothing);
            if counts.installed < fault.times {
                lacks.push(format!(
                    "fault {} was installed {}, needed {} ({} skipped, {} indeterminate)",
                    fault.name,
                    count(counts.installed as usize, "time"),
                    fault.times,
                    counts.skipped,
                    counts.indeterminate
                ));
            }
        }
        lacks.extend(missed_aims(evidence));
        lacks.extend(history.events().iter().filter_map(unproven_heal));
        if history.phase_start(Phase::End).is_some() {
            lacks.extend(never_healed(history));
        }
        if expected.complete && history.phase_start(Phase::End).is_none() {
            lacks.push("the run was cut short".to_owned());
        }

        let exercised = exercised(&summary);
        if lacks.is_empty() {
            return with_counts(Finding::new(self, Verdict::Valid, exercised.join(", ")), &summary);
        }
        let finding = Finding::new(self, Verdict::Unknown, lacks.join("; "));
        let anomaly =
            Anomaly { title: "what the run did exercise".to_owned(), text: exercised, events: Vec::new() };
        with_counts(Finding { anomalies: vec![anomaly], ..finding }, &summary)
    }
}

/// A run may be right for a hundred reasons; one that aimed at a situation and never came there shows nothing about it.
fn missed_aims(evidence: &Evidence) -> Vec<String> {
    let aims = &evidence.expectations.situations;
    if aims.is_empty() {
        return Vec::new();
    }
    let observed = situations::observe(evidence);
    let missed = |aim: &String| match observed.iter().find(|known| known.name == *aim) {
        Some(known) => known.missing().map(|missing| format!("missed its aim {aim}: {missing}")),
        None => Some(format!("it aimed at {aim}, a situation that is not known here")),
    };
    let mut lacks: Vec<String> = aims.iter().filter_map(missed).collect();
    if !lacks.is_empty() && evidence.traces.is_empty() {
        lacks.push("no node left a trace, in which situations show".to_owned());
    }
    lacks
}

/// A fault that was not seen to end may have lasted, and one that leaked shows only then: at its heal, what got across
/// while it was in force is counted.
fn unproven_heal(event: &Event) -> Option<String> {
    let Event::Fault { time, fault, phase: FaultPhase::Heal, receipt, .. } = event else { return None };
    if receipt.outcome != Outcome::Indeterminate {
        return None;
    }
    let seen = receipt.evidence.last().map_or("without evidence", |evidence| evidence.seen.as_str());
    Some(format!("the heal of {fault} at {} is in doubt: {seen}", seconds(*time)))
}

/// A fault without a heal was in force to the end, so recovery and the last reads were those of a cluster that was hurt.
/// Each injection has a heal of its own, also where another fault keeps the same nodes hurt.
fn never_healed(history: &History) -> impl Iterator<Item = String> {
    let mut open = Vec::new();
    for event in history.events() {
        let Event::Fault { time, fault, phase, nodes, receipt } = event else { continue };
        match phase {
            FaultPhase::Inject if receipt.outcome == Outcome::Skipped => (),
            FaultPhase::Inject => open.push((fault, nodes, *time)),
            FaultPhase::Heal => {
                // Of two alike, the one that was injected first ends the sooner.
                let healed = open.iter().position(|(other, hurt, _)| *other == fault && *hurt == nodes);
                if let Some(healed) = healed {
                    open.remove(healed);
                }
            }
        }
    }
    open.into_iter().map(|(fault, nodes, time)| {
        let nodes = nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{fault} of {} at {} was never healed", nodes.join("+"), seconds(time))
    })
}

/// What happened, in the words of a report.
fn exercised(summary: &Summary) -> Vec<String> {
    let OperationCounts { ok, fail, info } = summary.operations;
    let operations = count((ok + fail + info) as usize, "operation");
    let changes = count(summary.leader_changes as usize, "leader change");
    let mut lines = vec![
        format!("{operations} ({ok} ok, {fail} fail, {info} info)"),
        format!("{changes} up to term {}", summary.terms),
    ];
    for fault in &summary.faults {
        let mut line = format!("{} installed {}", fault.name, count(fault.installed as usize, "time"));
        if fault.skipped + fault.indeterminate > 0 {
            line.push_str(&format!(" ({} skipped, {} indeterminate)", fault.skipped, fault.indeterminate));
        }
        lines.push(line);
    }
    lines
}

fn with_counts(finding: Finding, summary: &Summary) -> Finding {
    let installed: u64 = summary.faults.iter().map(|fault| fault.installed).sum();
    finding
        .with_checked("ok operations", summary.operations.ok as usize)
        .with_checked("faults installed", installed as usize)
        .with_checked("leader changes", summary.leader_changes as usize)
}
