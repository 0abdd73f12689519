//! An account of an invalid run, in plain text, for somebody who was not there: what was found, what was in force, who
//! led in which term, what clients saw, and which rule that breaks, on one timeline.
//!
//! Everything in it is looked up in the evidence. Where the evidence does not tell, as without traces, the account
//! says less, and never guesses.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::CHECKERS;
use crate::counterexample::{CoreOperation, Counterexample, phrase};
use crate::disturbance::{Disturbance, disturbances};
use crate::evidence::Evidence;
use crate::finding::{Anomaly, Finding, Verdict, seconds};
use crate::history::{Completion, Event, FaultPhase, NodeId, OpKind, Outcome, Time};
use crate::measures::candidacies;
use crate::reign::{Reign, reigns};
use crate::trace::{Role, Term, Trace, TraceEvent};

/// The timeline begins so long before the first event that the anomaly rests on.
const LEAD_NS: Time = 500_000_000;
/// An operation that took longer has a line for its beginning and one for its end.
const LONG_NS: Time = 50_000_000;
/// The most lines of the timeline; what matters least is left out first, and the account says how many lines were.
const LINES_MAX: usize = 60;

/// Tells about the first anomaly of the first invalid finding; of a run without one, that there is none.
pub fn account(evidence: &Evidence, findings: &[Finding]) -> String {
    let header = evidence.history.header();
    let mut text = format!("{} · {} · seed {}", header.system, header.workload, header.seed);
    let invalid = findings.iter().filter(|finding| finding.verdict == Verdict::Invalid).collect::<Vec<_>>();
    let told = invalid.iter().find_map(|finding| Some((*finding, finding.anomalies.first()?)));
    let Some((finding, anomaly)) = told else {
        let verdict = crate::verdict(findings);
        writeln!(text, ": {verdict}. No rule was seen broken, so there is nothing to explain.")
            .expect(INTO_STRING);
        for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Unknown) {
            writeln!(text, "\nNot decided, {}: {}", finding.checker, finding.summary).expect(INTO_STRING);
        }
        return text;
    };
    let names = invalid.iter().map(|finding| finding.checker.as_str()).collect::<Vec<_>>().join(", ");
    writeln!(text, ": invalid, by {names}").expect(INTO_STRING);
    let case = Case::new(evidence, anomaly);
    for section in [found(finding, anomaly), case.timeline(), case.leaders(), case.rule(finding)] {
        text.push('\n');
        text.push_str(&section);
    }
    text
}

const INTO_STRING: &str = "a string takes what it is given";

fn found(finding: &Finding, anomaly: &Anomaly) -> String {
    let mut text = format!("What was found ({}: {})\n", finding.checker, anomaly.title);
    for line in &anomaly.text {
        writeln!(text, "  {line}").expect(INTO_STRING);
    }
    text
}

/// An anomaly in its surroundings.
struct Case<'a> {
    evidence: &'a Evidence,
    core: Counterexample,
    faults: Vec<Disturbance>,
    reigns: Vec<Reign>,
    from: Time,
    until: Time,
}

/// A line of the timeline.
struct Moment {
    at: Time,
    /// What is told first if not everything fits: 0 what the anomaly rests on, 1 faults and leaders, 2 the rest.
    rank: u8,
    text: String,
}

impl<'a> Case<'a> {
    fn new(evidence: &'a Evidence, anomaly: &Anomaly) -> Self {
        let core = Counterexample::of(evidence, anomaly);
        let mut times = core.trace.iter().map(|event| event.time_ns).collect::<Vec<_>>();
        for operation in &core.operations {
            times.push(operation.invoked_ns);
            times.extend(operation.completed_ns);
        }
        let last = evidence.history.last_time();
        let first = times.iter().copied().min().unwrap_or(0);
        let until = times.iter().copied().max().unwrap_or(last);
        let faults = disturbances(&evidence.history);
        let reigns = reigns(evidence, &faults);
        Self { evidence, core, faults, reigns, from: first.saturating_sub(LEAD_NS), until }
    }

    fn timeline(&self) -> String {
        let mut text = format!("What happened, {} to {}\n", seconds(self.from), seconds(self.until));
        for line in self.standing() {
            writeln!(text, "  {line}").expect(INTO_STRING);
        }
        let mut moments = self.faults_told();
        moments.extend(self.elections());
        moments.extend(self.nodes_told());
        moments.extend(self.clients());
        moments.retain(|moment| (self.from..=self.until).contains(&moment.at));
        let left_out = shorten(&mut moments);
        moments.sort_by_key(|moment| moment.at);
        for Moment { at, text: told, .. } in moments {
            writeln!(text, "  {:>10}  {told}", seconds(at)).expect(INTO_STRING);
        }
        if left_out > 0 {
            writeln!(text, "  ({left_out} lines of less weight are left out)").expect(INTO_STRING);
        }
        text
    }

    /// What had begun before the timeline does.
    fn standing(&self) -> Vec<String> {
        let at = seconds(self.from);
        let led = self.reigns.iter().filter(|reign| reign.from < self.from && reign.until >= self.from);
        let mut lines = led
            .map(|reign| {
                format!("{at:>10}  {} leads term {} since {}", reign.node, reign.term, seconds(reign.from))
            })
            .collect::<Vec<_>>();
        let in_force =
            self.faults.iter().filter(|fault| fault.began < self.from && fault.touches(self.from, self.from));
        lines.extend(in_force.map(|fault| {
            format!(
                "{at:>10}  {} of {} is in force since {}",
                fault.fault,
                join(&fault.nodes),
                seconds(fault.began)
            )
        }));
        lines
    }

    fn faults_told(&self) -> Vec<Moment> {
        let told = |event: &Event| match event {
            Event::Fault { time, fault, phase, nodes, receipt } => {
                let doubt = match receipt.outcome {
                    Outcome::Installed => "",
                    Outcome::Skipped => return None,
                    Outcome::Indeterminate => ", in doubt",
                };
                let text = match phase {
                    FaultPhase::Inject => format!("FAULT {fault} of {}{doubt}", join(nodes)),
                    FaultPhase::Heal => format!("healed: {fault} of {}{doubt}", join(nodes)),
                };
                Some(Moment { at: *time, rank: 1, text })
            }
            Event::Death { time, node, .. } => {
                Some(Moment { at: *time, rank: 1, text: format!("{node} ends by itself") })
            }
            _ => None,
        };
        self.evidence.history.events().iter().filter_map(told).collect()
    }

    fn elections(&self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for reign in &self.reigns {
            let votes = self.voters(reign.node, reign.term);
            let by = if votes.is_empty() { String::new() } else { format!(", elected by {}", join(&votes)) };
            let text = format!("{} leads term {}{by}", reign.node, reign.term);
            moments.push(Moment { at: reign.from, rank: 1, text });
            if reign.until < Time::MAX {
                let text = format!("{} no longer leads term {}", reign.node, reign.term);
                moments.push(Moment { at: reign.until, rank: 1, text });
            }
        }
        let origin_ns = self.evidence.history.header().origin_ns;
        for trace in &self.evidence.traces {
            for at_ns in candidacies(trace) {
                let text = format!("{} stands for election", trace.node());
                moments.push(Moment { at: at_ns.saturating_sub(origin_ns), rank: 2, text });
            }
        }
        moments
    }

    /// Who voted for a node in a term.
    fn voters(&self, leader: NodeId, of: Term) -> Vec<NodeId> {
        let voted = |trace: &&Trace| {
            trace.lines().iter().any(|line| {
                matches!(line.event, TraceEvent::Vote { term, candidate } if term == of && candidate == leader)
            })
        };
        let voters = self.evidence.traces.iter().filter(voted).map(Trace::node);
        voters.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn nodes_told(&self) -> Vec<Moment> {
        let origin_ns = self.evidence.history.header().origin_ns;
        let mut moments = Vec::new();
        for trace in &self.evidence.traces {
            for line in trace.lines() {
                let text = match line.event {
                    TraceEvent::Boot { term, .. } => format!("{} starts, in term {term}", trace.node()),
                    TraceEvent::Truncate { from_index } => {
                        format!("{} drops the end of its log, from entry {from_index}", trace.node())
                    }
                    _ => continue,
                };
                moments.push(Moment { at: line.at_ns.saturating_sub(origin_ns), rank: 2, text });
            }
        }
        moments.extend(self.core.trace.iter().map(|event| Moment {
            at: event.time_ns,
            rank: 0,
            text: format!("{} {}   ◀ line {} of its trace", event.node, event.event, event.line),
        }));
        moments
    }

    fn clients(&self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for operation in &self.core.operations {
            let who = who(operation);
            let ended =
                operation.completed_ns.filter(|_| matches!(operation.completion, Some(Completion::Ok(_))));
            let long = ended.is_none_or(|ended| ended - operation.invoked_ns > LONG_NS);
            if long {
                let text = format!("{who} asks: {}", on_key(operation));
                moments.push(Moment { at: operation.invoked_ns, rank: 0, text });
            }
            if let Some(at) = ended {
                let said = phrase(&operation.op, operation.completion.as_ref());
                let key = operation.op.key().map(|key| format!(" on {key}")).unwrap_or_default();
                moments.push(Moment { at, rank: 0, text: format!("{who}: {said}{key}   ◀ acknowledged") });
            }
        }
        moments
    }

    /// Every reign that touches the timeline, term by term, and which of them overlapped.
    fn leaders(&self) -> String {
        let mut text = "Who led\n".to_owned();
        if self.evidence.traces.is_empty() {
            text.push_str("  there are no traces, so nobody knows\n");
            return text;
        }
        let mut seen = self
            .reigns
            .iter()
            .filter(|reign| reign.from <= self.until && reign.until >= self.from)
            .collect::<Vec<_>>();
        seen.sort_by_key(|reign| reign.term);
        if seen.is_empty() {
            text.push_str("  nobody\n");
        }
        for reign in &seen {
            let until = if reign.until == Time::MAX { "the end".to_owned() } else { seconds(reign.until) };
            write!(text, "  term {}: {}, {} to {until}", reign.term, reign.node, seconds(reign.from))
                .expect(INTO_STRING);
            if let Some(next) = seen.iter().find(|next| next.term > reign.term && next.from < reign.until) {
                let after = reign.until.min(self.until).saturating_sub(next.from);
                write!(
                    text,
                    "; still took itself for the leader when {} had won term {}, for {}",
                    next.node,
                    next.term,
                    seconds(after)
                )
                .expect(INTO_STRING);
            }
            text.push('\n');
        }
        text
    }

    fn rule(&self, finding: &Finding) -> String {
        let mut text = "Which rule this breaks\n".to_owned();
        if let Some(checker) = CHECKERS.iter().find(|checker| checker.name() == finding.checker) {
            writeln!(text, "  {}: {}", checker.name(), checker.about()).expect(INTO_STRING);
        }
        // The last answer of the core is the one that cannot be explained; what its node believed explains it mostly.
        let answered = self.core.operations.iter().filter(|operation| {
            operation.op.kind() == OpKind::Read && matches!(operation.completion, Some(Completion::Ok(_)))
        });
        if let Some(read) = answered.max_by_key(|operation| operation.completed_ns)
            && let (Some(node), Some(at)) = (read.node, read.completed_ns)
        {
            for line in self.believed(node, read.invoked_ns, at) {
                writeln!(text, "  {line}").expect(INTO_STRING);
            }
        }
        text
    }

    /// What a node took itself for when it answered a read.
    fn believed(&self, node: NodeId, invoked: Time, answered: Time) -> Vec<String> {
        let Some(trace) = self.evidence.traces.iter().find(|trace| trace.node() == node) else {
            return Vec::new();
        };
        let origin_ns = self.evidence.history.header().origin_ns;
        let before = trace.lines().iter().take_while(|line| line.at_ns.saturating_sub(origin_ns) <= answered);
        let role = before.filter_map(|line| match line.event {
            TraceEvent::Role { role, term } => Some((role, term)),
            TraceEvent::Boot { term, .. } => Some((Role::Follower, term)),
            _ => None,
        });
        let Some((role, term)) = role.last() else { return Vec::new() };
        let newest = self.reigns.iter().filter(|reign| reign.from <= invoked).max_by_key(|reign| reign.term);
        let mut lines = Vec::new();
        match (role, newest) {
            (Role::Leader, Some(newest)) if newest.term > term => {
                lines.push(format!(
                    "When {node} answered, it still took itself for the leader of term {term}; but {} had won term {} {} before the read began.",
                    newest.node,
                    newest.term,
                    seconds(invoked - newest.from)
                ));
                lines.push("A leader may have been replaced without knowing it. Before it answers a read it must hear from a".to_owned());
                lines.push("majority that it still leads (Raft paper §8; thesis §6.4, read index), or hold a lease that no successor can overlap.".to_owned());
            }
            (Role::Leader, _) => lines.push(format!(
                "When {node} answered, it was the leader of term {term}, the newest there was."
            )),
            (role, newest) => {
                let role = match role {
                    Role::Follower => "a follower",
                    Role::PreCandidate | Role::Candidate => "a candidate",
                    Role::Leader => unreachable!("matched above"),
                };
                let leader = newest
                    .map(|newest| format!("; {} led term {}", newest.node, newest.term))
                    .unwrap_or_default();
                lines.push(format!("When {node} answered, it was {role} in term {term}{leader}."));
                lines.push("What a follower has applied may be old. To answer a read it must ask the leader for its commit index, the leader".to_owned());
                lines.push("must hear from a majority that it still leads, and the follower must have applied that far (thesis §6.4).".to_owned());
            }
        }
        let in_force = self
            .faults
            .iter()
            .filter(|fault| fault.nodes.contains(&node) && fault.touches(invoked, answered));
        lines.extend(
            in_force.map(|fault| format!("{} of {} was in force then.", fault.fault, join(&fault.nodes))),
        );
        lines
    }
}

/// Leaves out what weighs least until the rest fits. Returns how many lines that were.
fn shorten(moments: &mut Vec<Moment>) -> usize {
    let all = moments.len();
    moments.sort_by_key(|moment| (moment.rank, moment.at));
    moments.truncate(LINES_MAX);
    all - moments.len()
}

fn who(operation: &CoreOperation) -> String {
    match operation.node {
        Some(node) => format!("client p{} at {node}", operation.process.0),
        None => format!("client p{}", operation.process.0),
    }
}

fn on_key(operation: &CoreOperation) -> String {
    let key = operation.op.key().map(|key| format!(" on {key}")).unwrap_or_default();
    format!("{}{key}", phrase(&operation.op, operation.completion.as_ref()))
}

fn join(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join("+")
}
