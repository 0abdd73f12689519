//! Turns what happened in a run into a plan that makes it happen again: faults are tied to the events that they fell on
//! (the second election, the 400th acknowledged operation, whoever leads), with the recorded times as fallback.
//!
//! A timetable alone does not do: elections take random times, so a fault that fell on a leader with an uncommitted
//! tail falls on nobody in the next run. The counts are those since the step before, so that what one step gains or
//! loses does not shift all later ones.

use std::collections::BTreeSet;

use checkers::Evidence;
use checkers::history::{Completion, Event, FaultPhase, NodeId, Outcome, Phase, Time};
use checkers::trace::{Role, Term, Trace, TraceEvent};
use nemesis::schedule::{Schedule, Step};
use nemesis::target::Target;
use nemesis::trigger::{Condition, Otherwise, Since, Trigger, Until};

use crate::plan::Plan;

/// A step may begin so much earlier than recorded, as a share of the time since the step before, if its events come
/// sooner, and so much later. Beyond that it begins all the same.
const EARLY: f64 = 0.3;
const LATE: f64 = 0.3;
/// An election takes up to two timeouts, and more if the vote is split.
const LATE_ELECTIONS: u64 = 3;

/// A fault as it happened.
struct Happened<'a> {
    step: &'a Step,
    nodes: Vec<NodeId>,
    began: Time,
    ended: Time,
}

/// The plan of a run with its faults anchored to the run's events. Steps that were skipped then are left out: they did
/// not happen.
pub fn anchor(plan: &Plan, evidence: &Evidence) -> Plan {
    let happened = happened(plan, evidence);
    let facts = Facts::new(evidence);
    let drive = evidence.history.phase_start(Phase::Drive).unwrap_or(0);
    let is_cut_short = evidence.history.phase_start(Phase::Recovery).is_none();
    let mut steps: Vec<Step> = Vec::new();
    let (mut before, mut before_ms) = (drive, 0);
    for fault in &happened {
        let gap_ms = millis(fault.began.saturating_sub(before));
        let early_ms = (gap_ms as f64 * EARLY) as u64;
        let mut lasted_ms = millis(fault.ended.saturating_sub(fault.began));
        if is_cut_short {
            // A violation ended the run, and whatever was in force with it. It would have lasted as planned.
            lasted_ms = lasted_ms.max(fault.step.duration_ms);
        }
        let elected = facts.elections(before, fault.began);
        let mut conditions = vec![Condition::LeaderKnown];
        if elected > 0 {
            conditions.push(Condition::LeaderElected { times: elected, since: Since::Step });
        }
        let operations = facts.acknowledged(before, fault.began);
        conditions.push(Condition::Acknowledged { operations, since: Since::Step });
        if facts.leader(fault.began).is_none() {
            conditions.retain(|condition| *condition != Condition::LeaderKnown);
        }
        let slack_ms =
            (gap_ms as f64 * LATE) as u64 + LATE_ELECTIONS * plan.settings.election_ms * elected.min(1);
        let at_ms = before_ms + gap_ms - early_ms;
        steps.push(Step {
            at_ms,
            duration_ms: lasted_ms,
            fault: fault.step.fault.clone(),
            target: facts.target(&fault.nodes, fault.began, &fault.step.target),
            knobs: fault.step.knobs.clone(),
            trigger: Some(Trigger {
                when: Condition::All(conditions),
                within_ms: early_ms + slack_ms,
                otherwise: Otherwise::GoOn,
            }),
            until: until(&facts, fault, plan.settings.election_ms),
        });
        // The schedule shifts what follows by what a trigger waited, so gaps count from the planned time.
        (before, before_ms) = (fault.began, at_ms);
    }
    let names = steps.iter().map(|step| step.fault.clone()).collect::<BTreeSet<_>>();
    let mut anchored = plan.clone();
    anchored.expectations.faults.retain(|expected| names.contains(&expected.name));
    let end_ms = steps.iter().map(Step::end_ms).max().unwrap_or(0);
    anchored.time_limit_ms = plan.time_limit_ms.max(end_ms);
    anchored.schedule = Schedule { steps };
    anchored
}

/// A fault in force while leaders were elected stays until as many have been.
fn until(facts: &Facts, fault: &Happened<'_>, election_ms: u64) -> Option<Until> {
    let times = facts.elections(fault.began, fault.ended);
    let when = Condition::LeaderElected { times, since: Since::Step };
    (times > 0).then_some(Until { when, within_ms: LATE_ELECTIONS * election_ms })
}

/// The faults of a plan that were injected, in order. The history has one injection for each step, skipped ones too.
fn happened<'a>(plan: &'a Plan, evidence: &Evidence) -> Vec<Happened<'a>> {
    let events = evidence.history.events();
    let last = evidence.history.phase_start(Phase::Recovery).unwrap_or_else(|| evidence.history.last_time());
    let injections = events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Fault { time, fault, phase: FaultPhase::Inject, nodes, receipt } => {
            Some((at, *time, fault, nodes, receipt.outcome))
        }
        _ => None,
    });
    let mut happened = Vec::new();
    for (step, (at, began, fault, nodes, outcome)) in plan.schedule.steps.iter().zip(injections) {
        if outcome == Outcome::Skipped || *fault != step.fault {
            continue;
        }
        let healed = events[at..].iter().find_map(|event| match event {
            Event::Fault { time, fault: healed, phase: FaultPhase::Heal, nodes: hit, .. }
                if healed == fault && hit == nodes =>
            {
                Some(*time)
            }
            _ => None,
        });
        happened.push(Happened {
            step,
            nodes: nodes.clone(),
            began,
            ended: healed.unwrap_or(last).max(began),
        });
    }
    happened
}

/// What a run's history and traces tell about its course.
struct Facts {
    /// Elections won, in order of time.
    elected: Vec<(Time, Term, NodeId)>,
    /// When operations were acknowledged, in order.
    acknowledged: Vec<Time>,
}

impl Facts {
    fn new(evidence: &Evidence) -> Self {
        let origin_ns = evidence.history.header().origin_ns;
        let mut elected = Vec::new();
        for trace in &evidence.traces {
            elected.extend(trace.lines().iter().filter_map(|line| match line.event {
                TraceEvent::Role { role: Role::Leader, term } => {
                    Some((line.at_ns.saturating_sub(origin_ns), term, Trace::node(trace)))
                }
                _ => None,
            }));
        }
        elected.sort_unstable();
        let ok = |completion: &Option<Completion>| matches!(completion, Some(Completion::Ok(_)));
        let operations = evidence.history.operations().iter();
        let acknowledged = operations.filter(|operation| ok(&operation.completion));
        let mut acknowledged =
            acknowledged.filter_map(|operation| operation.completed_at).collect::<Vec<_>>();
        acknowledged.sort_unstable();
        Self { elected, acknowledged }
    }

    /// Elections won after `from`, up to `until`.
    fn elections(&self, from: Time, until: Time) -> u64 {
        self.elected.iter().filter(|(at, ..)| (from + 1..=until).contains(at)).count() as u64
    }

    fn acknowledged(&self, from: Time, until: Time) -> u64 {
        let up_to = |time: Time| self.acknowledged.partition_point(|at| *at <= time);
        (up_to(until) - up_to(from)) as u64
    }

    /// Who led the highest term won by then.
    fn leader(&self, at: Time) -> Option<NodeId> {
        let won = self.elected.iter().filter(|(won_at, ..)| *won_at <= at);
        won.max_by_key(|(_, term, _)| *term).map(|(.., node)| *node)
    }

    /// The nodes that were hit, by the part that they played: a leader is whoever leads next time.
    fn target(&self, nodes: &[NodeId], at: Time, planned: &Target) -> Target {
        match self.leader(at) {
            Some(leader) if nodes == [leader] => Target::Leader,
            // Any choice that was symbolic without chance stays so.
            _ if matches!(planned, Target::Leader | Target::Followers | Target::All | Target::Step(_)) => {
                planned.clone()
            }
            _ => Target::Nodes(nodes.iter().copied().collect()),
        }
    }
}

fn millis(time: Time) -> u64 {
    time / 1_000_000
}
