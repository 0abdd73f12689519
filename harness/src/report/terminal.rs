//! The outcome of a run for people: what was exercised next to what was found.

use std::fmt::Write;

use checkers::{Finding, Verdict};

use crate::judge::Judgement;

/// Columns of the word that begins a line.
const WORD: usize = 9;
/// A line of checkers is broken before it gets longer than this.
const LINE: usize = 100;

/// The lines of an outcome, verdict last.
pub fn outcome(judgement: &Judgement) -> String {
    let mut text = String::new();
    for warning in &judgement.warnings {
        line(&mut text, "warning", &warning.to_string());
    }
    line(&mut text, "ran", &exercised(judgement));
    // Each with how often: which rare ones came up is what a reader looks for, so the frequent ones are not left out.
    let reached = judgement.situations.iter().filter(|situation| situation.reached());
    for situations in wrapped(reached.map(|situation| format!("{} {}", situation.name, situation.times))) {
        line(&mut text, "reached", &situations);
    }
    for checks in wrapped(judgement.findings.iter().map(mark)) {
        line(&mut text, "check", &checks);
    }
    for finding in judgement.findings.iter().filter(|finding| finding.verdict != Verdict::Valid) {
        let word = match finding.verdict {
            Verdict::Invalid => "INVALID",
            Verdict::Unknown => "UNKNOWN",
            Verdict::Valid => unreachable!("filtered out above"),
        };
        line(&mut text, word, &format!("{}: {}", finding.checker, finding.summary));
        // The summary tells the first anomaly, and mostly begins as its argument does.
        // Beside a violation, what the run lacked is of no interest: it may have been ended for that violation.
        let matters = finding.verdict == judgement.verdict;
        if let Some(anomaly) = finding.anomalies.first().filter(|_| matters) {
            for argument in
                anomaly.text.iter().filter(|argument| !finding.summary.contains(argument.as_str()))
            {
                line(&mut text, "", &format!("  {argument}"));
            }
        }
    }
    if let Some(fault) = &judgement.fault {
        line(&mut text, "fault", fault);
    }
    if judgement.verdict == Verdict::Valid {
        line(&mut text, "VALID", &format!("by {} checkers", judgement.findings.len()));
    }
    text
}

fn line(text: &mut String, word: &str, rest: &str) {
    writeln!(text, "  {word:<WORD$}{rest}").expect("a string takes what it is given");
}

fn exercised(judgement: &Judgement) -> String {
    let summary = &judgement.summary;
    let operations = &summary.operations;
    let mut text = format!(
        "{} ops ({} ok, {} fail, {} info) · {} leader changes · term {}",
        operations.ok + operations.fail + operations.info,
        operations.ok,
        operations.fail,
        operations.info,
        summary.leader_changes,
        summary.terms,
    );
    for fault in &summary.faults {
        write!(text, " · {} {}", fault.name, fault.installed).expect("a string takes what it is given");
        if fault.skipped + fault.indeterminate > 0 {
            write!(text, " ({} skipped, {} indeterminate)", fault.skipped, fault.indeterminate)
                .expect("a string takes what it is given");
        }
    }
    text
}

fn mark(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Valid => '✓',
        Verdict::Unknown => '?',
        Verdict::Invalid => '✗',
    };
    format!("{} {mark}", finding.checker)
}

fn wrapped(marks: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for mark in marks {
        match lines.last_mut() {
            Some(line) if line.chars().count() + mark.chars().count() < LINE => {
                line.push_str("   ");
                line.push_str(&mark);
            }
            _ => lines.push(mark),
        }
    }
    lines
}
