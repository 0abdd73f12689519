//! Leadership over time, one panel above the other: the same faults under two configurations, seen at a glance.
//!
//! A panel has a row for each node, with a bar from when to when it led and a tick for each candidacy; below them a
//! row that is filled where writes were acknowledged and empty where nobody could write. The faults in force are shaded
//! across all rows. Time is to scale and the same in all panels.

use crate::disturbance::{Disturbance, disturbances};
use crate::evidence::Evidence;
use crate::history::{Completion, NodeId, OpKind, Phase, Time};
use crate::measures::candidacies;
use crate::reign::reigns;
use crate::trace::Trace;

use super::svg::{Svg, width_of};
use super::{BAR, LEFT, RIGHT, ROW, WIDTH, clipped};

/// A run to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// What is said above it: the configuration and what was measured.
    pub title: &'a str,
    /// The run.
    pub evidence: &'a Evidence,
}

/// Writes that are no farther apart count as service without a break: clients pause for longer between two operations
/// than a write takes.
const GAP_NS: Time = 200_000_000;
const SECOND_NS: Time = 1_000_000_000;
/// Times on the axis are at least so far apart.
const LABEL_ROOM: f64 = 90.0;
/// The most bars and ticks of a row: a cluster that elects all the time needs no more to be seen doing so.
const MARKS_MAX: usize = 400;

/// Draws the panels one above the other.
pub fn leadership(title: &str, panels: &[Panel<'_>]) -> String {
    let longest = panels.iter().map(|panel| Span::of(panel.evidence).length()).max().unwrap_or(0).max(1);
    let mut svg = Svg::new();
    let mut y = 30.0;
    svg.text("title", (16.0, y), "start", title);
    y += 30.0;
    for panel in panels {
        y = Rows { svg: &mut svg, span: Span::of(panel.evidence), longest, evidence: panel.evidence }
            .draw(panel.title, y);
    }
    y = legend(&mut svg, y);
    svg.finish(WIDTH, y)
}

/// The part of a run that is drawn: from the beginning of its clients' work until before the final reads.
#[derive(Clone, Copy)]
struct Span {
    from: Time,
    until: Time,
}

impl Span {
    fn of(evidence: &Evidence) -> Self {
        let history = &evidence.history;
        let from = history.phase_start(Phase::Drive).unwrap_or(0);
        Self {
            from,
            until: history.phase_start(Phase::FinalReads).unwrap_or_else(|| history.last_time()).max(from),
        }
    }

    fn length(self) -> Time {
        self.until - self.from
    }
}

/// A panel in the making.
struct Rows<'a> {
    svg: &'a mut Svg,
    span: Span,
    longest: Time,
    evidence: &'a Evidence,
}

impl Rows<'_> {
    /// Returns where the next panel begins.
    fn draw(&mut self, title: &str, top: f64) -> f64 {
        self.svg.text("", (16.0, top), "start", &clipped(title));
        let top = self.faults(top + 10.0);
        let mut y = top;
        for node in self.nodes() {
            self.node(node, y);
            y += ROW;
        }
        self.writes(y);
        y += ROW;
        self.shades(top, y);
        self.axis(top, y);
        y + 48.0
    }

    fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.evidence.traces.iter().map(Trace::node).collect::<Vec<_>>();
        nodes.sort_unstable();
        nodes
    }

    /// The names of the faults above what they shade.
    fn faults(&mut self, y: f64) -> f64 {
        let mut free = LEFT;
        for fault in self.visible_faults() {
            let nodes = fault.nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join("+");
            let label = clipped(&format!("{} {nodes}", fault.fault));
            let left = self.place(fault.began);
            // A name that would cover its neighbour's is left out; the shade is there all the same.
            if left >= free {
                self.svg.text("faint", (left, y + 13.5), "start", &label);
                free = left + width_of(&label) + 8.0;
            }
        }
        y + ROW
    }

    fn node(&mut self, node: NodeId, y: f64) {
        self.svg.text("faint", (LEFT - 12.0, y + 13.5), "end", &node.to_string());
        let known = disturbances(&self.evidence.history);
        let reigns = reigns(self.evidence, &known);
        let own = reigns.iter().filter(|reign| reign.node == node);
        let visible = own.filter(|reign| reign.until >= self.span.from && reign.from <= self.span.until);
        for reign in visible.take(MARKS_MAX) {
            let (left, right) = (self.place(reign.from), self.place(reign.until));
            let width = (right - left).max(2.0);
            let label = format!("term {}", reign.term);
            self.svg.told_rect("lead", (left, y), (width, BAR), &format!("{node} leads term {}", reign.term));
            if width_of(&label) + 8.0 < width {
                self.svg.text("", (left + 5.0, y + 13.5), "start", &label);
            }
        }
        for at in self.candidacies(node).into_iter().take(MARKS_MAX) {
            let x = self.place(at);
            self.svg.line("before", (x, y), (x, y + BAR));
        }
    }

    fn candidacies(&self, node: NodeId) -> Vec<Time> {
        let origin_ns = self.evidence.history.header().origin_ns;
        let traces = self.evidence.traces.iter().filter(|trace| trace.node() == node);
        let times = traces.flat_map(candidacies).map(|at_ns| at_ns.saturating_sub(origin_ns));
        times.filter(|at| (self.span.from..=self.span.until).contains(at)).collect()
    }

    /// Filled where writes were acknowledged no longer than [`GAP_NS`] apart.
    fn writes(&mut self, y: f64) {
        self.svg.text("faint", (LEFT - 12.0, y + 13.5), "end", "writes");
        let mut stretches: Vec<Span> = Vec::new();
        for at in self.acknowledged() {
            match stretches.last_mut() {
                Some(stretch) if at - stretch.until <= GAP_NS => stretch.until = at,
                _ => stretches.push(Span { from: at, until: at }),
            }
        }
        for stretch in stretches {
            let (left, right) = (self.place(stretch.from), self.place(stretch.until));
            self.svg.rect("ok", (left, y), ((right - left).max(2.0), BAR));
        }
    }

    /// When writes were acknowledged, in order.
    fn acknowledged(&self) -> Vec<Time> {
        let operations = self.evidence.history.operations().iter();
        let wrote = operations.filter(|operation| {
            operation.op.kind() != OpKind::Read && matches!(operation.completion, Some(Completion::Ok(_)))
        });
        let times = wrote.filter_map(|operation| operation.completed_at);
        let mut times =
            times.filter(|at| (self.span.from..=self.span.until).contains(at)).collect::<Vec<_>>();
        times.sort_unstable();
        times
    }

    fn shades(&mut self, top: f64, bottom: f64) {
        for fault in self.visible_faults() {
            let (left, right) = (self.place(fault.began), self.place(fault.ended.unwrap_or(Time::MAX)));
            self.svg.shade("fault", (left, top), ((right - left).max(2.0), bottom - top));
        }
    }

    fn visible_faults(&self) -> Vec<Disturbance> {
        let mut faults = disturbances(&self.evidence.history);
        faults.retain(|fault| fault.touches(self.span.from, self.span.until));
        faults.truncate(MARKS_MAX);
        faults
    }

    fn axis(&mut self, top: f64, bottom: f64) {
        self.svg.line("rule", (LEFT, bottom), (RIGHT, bottom));
        let labels = ((RIGHT - LEFT) / LABEL_ROOM) as u64;
        let step = step(self.longest / labels.max(1));
        for at in (0..).map(|nth| nth * step).take_while(|at| *at <= self.longest) {
            let x = self.place(self.span.from + at);
            self.svg.line("tick", (x, top), (x, bottom));
            self.svg.text("faint", (x, bottom + 16.0), "middle", &format!("{} s", at / SECOND_NS));
        }
    }

    /// The place of a time; of one outside the panel, its edge.
    fn place(&self, time: Time) -> f64 {
        let inside = time.clamp(self.span.from, self.span.until) - self.span.from;
        LEFT + inside as f64 / self.longest as f64 * (RIGHT - LEFT)
    }
}

/// The least of 1, 2, 5, 10, … seconds that is not below.
fn step(least: Time) -> Time {
    let powers = (0..9).map(|power| SECOND_NS * 10_u64.pow(power));
    let mut steps = powers.flat_map(|power| [power, 2 * power, 5 * power]);
    steps.find(|step| *step >= least).unwrap_or(least.max(1))
}

fn legend(svg: &mut Svg, y: f64) -> f64 {
    let mut x = 16.0;
    for (class, label) in [("lead", "leads"), ("ok", "writes acknowledged"), ("fault", "fault in force")] {
        svg.rect(class, (x, y - 10.0), (18.0, 12.0));
        svg.text("faint", (x + 24.0, y), "start", label);
        x += width_of(label) + 44.0;
    }
    svg.line("before", (x + 4.0, y - 10.0), (x + 4.0, y + 2.0));
    svg.text("faint", (x + 14.0, y), "start", "stands for election");
    y + 18.0
}
