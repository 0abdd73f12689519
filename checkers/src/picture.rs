//! The picture of a counterexample: an SVG timeline of the moments that matter.
//!
//! From top to bottom: the anomaly in one line, who led in which term, the faults in force (also shaded across all
//! rows), one row for each process with its operations from invocation to completion, one row for each node with the
//! trace events that the anomaly rests on, the times, and the argument in words. Operations of the core are labelled;
//! those beside them on the same keys are faint and tell what they are when pointed at.
//!
//! A picture is a function of evidence and finding, without scripts, within [`BYTES_MAX`] however long the history is.

mod leadership;
mod scale;
mod scene;
mod svg;

use std::collections::BTreeMap;

pub use self::leadership::{Panel, leadership};
use self::scale::Scale;
use self::scene::{arrows, beside};
use self::svg::{Svg, width_of};
use crate::counterexample::{Counterexample, phrase};
use crate::disturbance::disturbances;
use crate::evidence::Evidence;
use crate::finding::{Anomaly, Finding, Verdict, seconds};
use crate::history::{Completion, NodeId, ProcessId, Time};
use crate::reign::reigns;

/// No picture is larger.
pub const BYTES_MAX: usize = 200_000;

const WIDTH: f64 = 1400.0;
/// Where the timeline begins and ends; left of it are the names of the rows.
const LEFT: f64 = 96.0;
const RIGHT: f64 = WIDTH - 24.0;
const ROW: f64 = 24.0;
const BAR: f64 = 18.0;

/// The most operations of a core that are drawn, the most beside them, and the most rows for processes that have no
/// part in the core.
const CORE_MAX: usize = 24;
const BESIDE_MAX: usize = 300;
const ROWS_MAX: usize = 14;
/// The most arrows; with more of them none is followed by the eye.
const ARROWS_MAX: usize = 20;
/// The most trace events, reigns and faults.
const EVENTS_MAX: usize = 24;
/// The most characters of a line of text.
const LINE_MAX: usize = 180;
/// The most lines of the argument.
const LINES_MAX: usize = 15;

/// The picture of the first finding that is invalid and rests on operations or, without such, on trace events.
pub fn draw_first(evidence: &Evidence, findings: &[Finding]) -> Option<String> {
    let invalid = || findings.iter().filter(|finding| finding.verdict == Verdict::Invalid);
    let rests_on_operations = |finding: &&Finding| {
        let anomaly = finding.anomalies.first();
        anomaly.is_some_and(|anomaly| !Counterexample::of(evidence, anomaly).operations.is_empty())
    };
    let clients_saw = invalid().find(rests_on_operations);
    clients_saw.into_iter().chain(invalid()).find_map(|finding| draw(evidence, finding))
}

/// The picture of a finding's first anomaly; `None` if it rests on nothing that has a place in time.
pub fn draw(evidence: &Evidence, finding: &Finding) -> Option<String> {
    let anomaly = finding.anomalies.first()?;
    let mut core = Counterexample::of(evidence, anomaly);
    // A long core is understood from its end.
    core.operations.drain(..core.operations.len().saturating_sub(CORE_MAX));
    core.trace.truncate(EVENTS_MAX);
    (!core.is_empty()).then(|| Picture::new(evidence, core).draw(finding, anomaly))
}

struct Picture<'a> {
    evidence: &'a Evidence,
    core: Counterexample,
    scale: Scale,
    svg: Svg,
    /// Where the next row begins.
    y: f64,
}

impl<'a> Picture<'a> {
    fn new(evidence: &'a Evidence, core: Counterexample) -> Self {
        let mut important: Vec<Time> = Vec::new();
        for operation in &core.operations {
            important.push(operation.invoked_ns);
            important.extend(operation.completed_ns);
        }
        important.extend(core.trace.iter().map(|event| event.time_ns));
        let known = disturbances(&evidence.history);
        let mut others: Vec<Time> = known.iter().map(|known| known.began).collect();
        others.extend(known.iter().filter_map(|known| known.ended));
        others.extend(reigns(evidence, &known).iter().flat_map(|reign| [reign.from, reign.until]));
        let scale = Scale::new(&important, &others, LEFT, RIGHT);
        Picture { evidence, core, scale, svg: Svg::new(), y: 30.0 }
    }

    fn draw(mut self, finding: &Finding, anomaly: &Anomaly) -> String {
        self.title(finding, anomaly);
        self.leaders();
        let first_row = self.faults();
        let spots = self.processes();
        self.arrows(&spots);
        self.nodes();
        self.axis(first_row);
        self.argument(anomaly);
        self.legend();
        self.svg.finish(WIDTH, self.y + 12.0)
    }

    fn title(&mut self, finding: &Finding, anomaly: &Anomaly) {
        let title = format!("{}: {}", finding.checker, anomaly.title);
        self.svg.text("title", (16.0, self.y), "start", &title);
        let header = self.evidence.history.header();
        let run = format!("{} · {} · seed {}", header.system, header.workload, header.seed);
        self.svg.text("faint", (RIGHT, self.y), "end", &run);
        self.y += 22.0;
        if let Some(headline) = anomaly.text.first() {
            self.svg.text("", (16.0, self.y), "start", &clipped(headline));
        }
        self.y += 18.0;
    }

    /// Who took itself for the leader, in which term. Two at once get two lines.
    fn leaders(&mut self) {
        let (from, until) = self.scale.window();
        let known = disturbances(&self.evidence.history);
        let reigns = reigns(self.evidence, &known);
        let reigns =
            reigns.iter().filter(|reign| reign.from <= until && reign.until >= from).take(EVENTS_MAX);
        let mut lanes = Lanes::default();
        for reign in reigns {
            let (left, right) = (self.scale.place(reign.from), self.scale.place(reign.until));
            let label = format!("{} · term {}", reign.node, reign.term);
            let lane = lanes.take(left, right.max(left + width_of(&label) + 8.0));
            let y = self.y + lane as f64 * ROW;
            self.svg.rect("lead", (left, y), ((right - left).max(2.0), BAR));
            self.svg.text("", (left + 5.0, y + 13.5), "start", &label);
        }
        if lanes.count() > 0 {
            self.row_name("leader", self.y);
            self.y += lanes.count() as f64 * ROW;
        }
    }

    /// The faults with their names. Returns where the rows below them begin, which the shades go across.
    fn faults(&mut self) -> f64 {
        let (from, until) = self.scale.window();
        let mut known = disturbances(&self.evidence.history);
        known.retain(|known| known.touches(from, until));
        known.truncate(EVENTS_MAX);
        let mut lanes = Lanes::default();
        for fault in &known {
            let (left, right) = self.span(fault.began, fault.ended);
            let nodes: Vec<String> = fault.nodes.iter().map(NodeId::to_string).collect();
            let doubt = if fault.shown { "" } else { " (in doubt)" };
            let label = clipped(&format!("{} {}{doubt}", fault.fault, nodes.join("+")));
            let (start, end, anchor, at) = beside_bar(left, right, &label);
            let y = self.y + lanes.take(start, end) as f64 * ROW;
            self.svg.rect("cause", (left, y), ((right - left).max(2.0), BAR));
            self.svg.text("", (at, y + 13.5), anchor, &label);
        }
        if lanes.count() > 0 {
            self.row_name("faults", self.y);
            self.y += lanes.count() as f64 * ROW;
        }
        self.y += 8.0;
        self.y
    }

    /// One row a process. Returns where each operation of the core is.
    fn processes(&mut self) -> Vec<Spot> {
        let window = self.scale.window();
        let mut rows: BTreeMap<ProcessId, Vec<Bar>> = BTreeMap::new();
        for (index, operation) in self.core.operations.iter().enumerate() {
            let ended = never_returned(operation.completion.as_ref()).then_some(window.1);
            rows.entry(operation.process).or_default().push(Bar {
                core: Some(index),
                span: self.span(operation.invoked_ns, ended.or(operation.completed_ns)),
                label: self.label(&phrase(&operation.op, operation.completion.as_ref()), operation.node),
                class: class_of(operation.completion.as_ref()),
            });
        }
        for operation in beside(self.evidence, &self.core, window).into_iter().take(BESIDE_MAX) {
            let room = rows.len() < ROWS_MAX || rows.contains_key(&operation.process);
            if room {
                rows.entry(operation.process).or_default().push(Bar {
                    core: None,
                    span: self.span(operation.invoked_at, operation.completed_at),
                    label: self.label(&phrase(&operation.op, operation.completion.as_ref()), operation.node),
                    class: class_of(operation.completion.as_ref()),
                });
            }
        }
        let mut spots = vec![Spot::default(); self.core.operations.len()];
        for (process, bars) in rows {
            self.process(process, &bars, &mut spots);
        }
        spots
    }

    fn process(&mut self, process: ProcessId, bars: &[Bar], spots: &mut [Spot]) {
        let mut lanes = Lanes::default();
        for bar in bars {
            let (left, right) = bar.span;
            let width = (right - left).max(3.0);
            let Some(index) = bar.core else {
                let class = format!("{} aside", bar.class);
                self.svg.told_rect(&class, (left, self.y), (width, BAR), &bar.label);
                continue;
            };
            let label = fitted(left, right, &bar.label);
            let (start, end, anchor, at) = beside_bar(left, right, &label);
            let y = self.y + lanes.take(start, end) as f64 * ROW;
            self.svg.told_rect(bar.class, (left, y), (width, BAR), &bar.label);
            self.svg.text("", (at, y + 13.5), anchor, &label);
            spots[index] = Spot { left, right: left + width, middle: y + BAR / 2.0 };
        }
        self.row_name(&format!("p{}", process.0), self.y);
        self.y += lanes.count().max(1) as f64 * ROW + 4.0;
    }

    fn arrows(&mut self, spots: &[Spot]) {
        let arrows = arrows(&self.core.operations);
        for arrow in &arrows[arrows.len().saturating_sub(ARROWS_MAX)..] {
            let (from, to) = (spots[arrow.from], spots[arrow.to]);
            let (class, begin, end) = if arrow.before {
                ("before", (from.right, from.middle), (to.left, to.middle))
            } else {
                // From below the writer: the straight way is taken by what came between.
                ("seen", (from.left + 8.0, from.middle + BAR / 2.0), (to.left, to.middle + 4.0))
            };
            self.svg.arrow(class, begin, end);
            if let Some(value) = arrow.seen {
                let middle = (f64::midpoint(begin.0, end.0), f64::midpoint(begin.1, end.1) + 4.0);
                self.svg.text("why", middle, "middle", &format!("saw {value}"));
            }
        }
    }

    /// The trace events of the core, one row a node.
    fn nodes(&mut self) {
        let mut rows: BTreeMap<NodeId, Vec<(f64, String)>> = BTreeMap::new();
        for event in &self.core.trace {
            let place = self.scale.place(event.time_ns);
            rows.entry(event.node).or_default().push((place, clipped(&event.event)));
        }
        for (node, events) in rows {
            let mut lanes = Lanes::default();
            for (at, label) in events {
                let label = fitted(at - 7.0, at + 7.0, &label);
                let (start, end, anchor, x) = beside_bar(at - 7.0, at + 7.0, &label);
                let y = self.y + lanes.take(start, end) as f64 * ROW + BAR / 2.0;
                self.svg.diamond("mark", (at, y));
                self.svg.text("", (x, y + 4.5), anchor, &label);
            }
            self.row_name(&node.to_string(), self.y);
            self.y += lanes.count() as f64 * ROW + 4.0;
        }
    }

    /// The times that matter, the lines up to the rows, and the shades of the faults behind them.
    fn axis(&mut self, top: f64) {
        let bottom = self.y;
        let (from, until) = self.scale.window();
        for fault in disturbances(&self.evidence.history) {
            if fault.touches(from, until) {
                let (left, right) = self.span(fault.began, fault.ended);
                self.svg.shade("fault", (left, top), ((right - left).max(2.0), bottom - top));
            }
        }
        let mut moments: Vec<Time> = Vec::new();
        for operation in &self.core.operations {
            moments.push(operation.invoked_ns);
            moments.extend(operation.completed_ns.filter(|_| !never_returned(operation.completion.as_ref())));
        }
        moments.extend(self.core.trace.iter().map(|event| event.time_ns));
        moments.sort_unstable();
        self.svg.line("rule", (LEFT, bottom), (RIGHT, bottom));
        let mut free = LEFT;
        for moment in moments {
            let x = self.scale.place(moment);
            self.svg.line("tick", (x, top), (x, bottom));
            let label = seconds(moment);
            let half = width_of(&label) / 2.0;
            if x - half >= free {
                self.svg.text("faint", (x, bottom + 16.0), "middle", &label);
                free = x + half + 8.0;
            }
        }
        self.row_name("time", bottom + 2.0);
        self.y = bottom + 40.0;
    }

    fn argument(&mut self, anomaly: &Anomaly) {
        for line in anomaly.text.iter().skip(1).take(LINES_MAX) {
            self.svg.text("", (16.0, self.y), "start", &clipped(line));
            self.y += 17.0;
        }
        self.y += 8.0;
    }

    fn legend(&mut self) {
        let mut x = 16.0;
        if self.core.operations.is_empty() {
            self.svg.text("faint", (x, self.y), "start", "time in order, not to scale");
            self.y += 6.0;
            return;
        }
        for (class, label) in
            [("ok", "ok"), ("fail", "fail: no effect"), ("info", "unknown, may take effect later")]
        {
            self.svg.rect(class, (x, self.y - 10.0), (18.0, 12.0));
            self.svg.text("faint", (x + 24.0, self.y), "start", label);
            x += width_of(label) + 44.0;
        }
        for (class, label) in
            [("before", "had returned before the other began"), ("seen", "its value was seen")]
        {
            self.svg.arrow(class, (x, self.y - 4.0), (x + 34.0, self.y - 4.0));
            self.svg.text("faint", (x + 42.0, self.y), "start", label);
            x += width_of(label) + 62.0;
        }
        self.svg.text("faint", (x, self.y), "start", "time in order, not to scale");
        self.y += 6.0;
    }

    fn row_name(&mut self, name: &str, y: f64) {
        self.svg.text("faint", (LEFT - 12.0, y + 13.5), "end", name);
    }

    /// From when until when, on the picture; what has not ended goes to its edge.
    fn span(&self, from: Time, until: Option<Time>) -> (f64, f64) {
        (self.scale.place(from), self.scale.place(until.unwrap_or(Time::MAX)))
    }

    fn label(&self, phrase: &str, node: Option<NodeId>) -> String {
        clipped(&node.map_or_else(|| phrase.to_owned(), |node| format!("{phrase}  @{node}")))
    }
}

/// An operation in its row.
struct Bar {
    /// Its position in the core, if it is part of it.
    core: Option<usize>,
    span: (f64, f64),
    label: String,
    class: &'static str,
}

/// Where a bar is.
#[derive(Clone, Copy, Default)]
struct Spot {
    left: f64,
    right: f64,
    middle: f64,
}

/// Keeps labels of one row apart: what would overlap goes one lane down.
#[derive(Default)]
struct Lanes {
    /// Where each lane is free from.
    free: Vec<f64>,
}

impl Lanes {
    fn take(&mut self, from: f64, until: f64) -> usize {
        let lane = self.free.iter().position(|free| *free <= from).unwrap_or(self.free.len());
        if lane == self.free.len() {
            self.free.push(until);
        } else {
            self.free[lane] = until;
        }
        lane
    }

    fn count(&self) -> usize {
        self.free.len()
    }
}

/// Where a bar's label begins and ends together with the bar, and how it is anchored: in it, or over its right end,
/// or before it at the edge of the picture.
fn beside_bar(left: f64, right: f64, label: &str) -> (f64, f64, &'static str, f64) {
    let width = width_of(label) + 8.0;
    if width <= right - left {
        return (left, right + 4.0, "start", left + 5.0);
    }
    if right + width <= RIGHT + 16.0 {
        (left, right + width + 4.0, "start", right + 4.0)
    } else {
        (left - width, right + 4.0, "end", left - 4.0)
    }
}

/// As much of a label as fits on one side of the bar or into it; pointing at the bar tells all.
fn fitted(left: f64, right: f64, label: &str) -> String {
    let room = (RIGHT + 16.0 - right).max(left - LEFT).max(right - left) - 8.0;
    clipped_to(label, (room / width_of("x")).max(1.0) as usize)
}

fn never_returned(completion: Option<&Completion>) -> bool {
    matches!(completion, Some(Completion::Info { .. }) | None)
}

fn class_of(completion: Option<&Completion>) -> &'static str {
    match completion {
        Some(Completion::Ok(_)) => "ok",
        Some(Completion::Fail { .. }) => "fail",
        Some(Completion::Info { .. }) | None => "info",
    }
}

fn clipped(text: &str) -> String {
    clipped_to(text, LINE_MAX)
}

fn clipped_to(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(characters_max - 1).collect();
    short.push('…');
    short
}
