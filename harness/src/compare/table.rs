//! A comparison for people: a table, and one sentence for each measure.

use std::fmt::Write;

use checkers::measures::{MEASURES, find};

use super::{Comparison, Pair, Row, Taken};
use crate::statistics::Estimate;

/// The whole text.
pub(super) fn text(comparison: &Comparison) -> String {
    let [a, b] = &comparison.labels;
    let mut text = format!("  A  {a}\n  B  {b}\n\n");
    let mut lines =
        vec![["measure", "A", "B", "B − A, within pairs", "A higher", "B higher"].map(str::to_owned)];
    lines.extend(comparison.rows.iter().map(|row| {
        [
            row.measure.to_owned(),
            interval(row.a),
            interval(row.b),
            interval(row.difference),
            format!("{}/{}", row.higher[0], row.pairs),
            format!("{}/{}", row.higher[1], row.pairs),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(widths) {
            write!(shown, "  {cell:<width$}").expect("a string takes what it is given");
        }
        writeln!(text, "{}", shown.trim_end()).expect("a string takes what it is given");
    }
    text.push_str(
        "\n  medians; in brackets an interval that holds the true median in at least 95 % of cases\n\n",
    );
    for row in &comparison.rows {
        writeln!(text, "  {}", sentence(row)).expect("a string takes what it is given");
    }
    text.push('\n');
    for pair in &comparison.pairs {
        for (side, taken) in [("A", &pair.a), ("B", &pair.b)] {
            for finding in taken.found.iter().filter(|finding| finding.verdict == taken.verdict) {
                let (checker, summary) = (&finding.checker, &finding.summary);
                writeln!(text, "  seed {} {side}: {checker}: {summary}", pair.seed)
                    .expect("a string takes what it is given");
            }
        }
    }
    text
}

/// What is said of a measure: only what the pairs carry.
fn sentence(row: &Row) -> String {
    let measure = find(row.measure).expect("rows are made of measures");
    let [a, b] = row.higher;
    let difference = row.difference;
    if a + b == 0 {
        return format!("{}: the same in all {} pairs", measure.name, row.pairs);
    }
    if !row.differs {
        return format!(
            "{}: no difference that {} pairs could show (A higher in {a}, B in {b})",
            measure.name, row.pairs
        );
    }
    let (which, times) = if a > b { ("A", a) } else { ("B", b) };
    let (low, high) =
        (difference.low.abs().min(difference.high.abs()), difference.low.abs().max(difference.high.abs()));
    format!(
        "{}: higher under {which} in {times} of {} pairs, by {} in the median ({} to {})",
        measure.name,
        row.pairs,
        number(difference.value.abs()),
        number(low),
        number(high),
    )
}

/// A pair in a line of progress.
pub(super) fn pair(pair: &Pair) -> String {
    format!("A {} · B {}", told(&pair.a), told(&pair.b))
}

/// A run in a few words.
pub(super) fn told(taken: &Taken) -> String {
    let value = |name: &str| {
        let nth = MEASURES.iter().position(|measure| measure.name == name).expect("it is in the list");
        taken.values[nth].map_or_else(|| "?".to_owned(), number)
    };
    format!(
        "{}, term +{}, {} leader changes, write gap {} ms",
        taken.verdict,
        value("term_rise"),
        value("leader_changes"),
        value("write_gap_ms")
    )
}

fn interval(estimate: Estimate) -> String {
    format!("{} [{}, {}]", number(estimate.value), number(estimate.low), number(estimate.high))
}

/// Whole where it is whole or large; nobody reads the tenths of a thousand.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
