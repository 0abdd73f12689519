//! What a run was like, in numbers that can be compared with another run's: how far the term rose, how often
//! leadership changed, how long nobody could write.
//!
//! A measure is no judgement. All of them are taken from the moment clients and nemesis began; what the cluster did
//! to get there is not counted.

use serde::{Deserialize, Serialize};

use crate::disturbance::disturbances;
use crate::evidence::Evidence;
use crate::history::{Completion, History, OpKind, Phase, Time};
use crate::reign::reigns;
use crate::trace::{Role, Term, Trace, TraceEvent};

/// One number about a run, and whether less of it is better.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// How it is called in tables and in JSON, with its unit at the end where it has one.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Takes it; `None` where the run does not tell.
    of: fn(&Run<'_>) -> Option<f64>,
}

/// Every measure, in the order of tables.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "term_rise",
        about: "by how much the highest term of any node rose",
        of: |run| run.traced(Run::term_rise),
    },
    Measure {
        name: "leader_changes",
        about: "elections won",
        of: |run| {
            run.traced(|run| run.count(|event| matches!(event, TraceEvent::Role { role: Role::Leader, .. })))
        },
    },
    Measure {
        name: "elections",
        about: "candidacies: terms in which a node voted for itself",
        of: |run| run.traced(Run::elections),
    },
    Measure {
        name: "votes",
        about: "votes given, those of candidates for themselves included",
        of: |run| run.traced(|run| run.count(|event| matches!(event, TraceEvent::Vote { .. }))),
    },
    Measure {
        name: "leaderless_ms",
        about: "time in which no live node took itself for the leader, until the final heal",
        of: |run| run.traced(Run::leaderless_ms),
    },
    Measure {
        name: "write_gap_ms",
        about: "the longest time without an acknowledged write on any node",
        of: |run| Some(run.write_gap_ms()),
    },
    Measure {
        name: "stable_after_ms",
        about: "from the last heal until the last election was won; 0 if none was needed",
        of: |run| run.traced(Run::stable_after_ms),
    },
    Measure { name: "ok_operations", about: "acknowledged operations", of: |run| Some(run.ok_operations()) },
];

/// The measure called `name`.
pub fn find(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}

/// A measure and its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The name of the measure.
    pub measure: String,
    /// Its value; `None` where the run does not tell, as without traces.
    pub value: Option<f64>,
}

/// Takes every measure of a run. Linear in the size of the evidence.
pub fn measure(evidence: &Evidence) -> Vec<Measured> {
    let history = &evidence.history;
    let began = history.phase_start(Phase::Drive).unwrap_or(0);
    let ended = history.phase_start(Phase::FinalReads).unwrap_or_else(|| history.last_time());
    let run = Run { evidence, began, ended, origin_ns: history.header().origin_ns };
    MEASURES
        .iter()
        .map(|measure| Measured { measure: measure.name.to_owned(), value: (measure.of)(&run) })
        .collect()
}

/// A run and the part of it that is measured.
struct Run<'a> {
    evidence: &'a Evidence,
    began: Time,
    ended: Time,
    origin_ns: u64,
}

impl Run<'_> {
    /// Without traces there is nothing to count, and nought would be a claim.
    fn traced(&self, of: impl Fn(&Self) -> f64) -> Option<f64> {
        (!self.evidence.traces.is_empty()).then(|| of(self))
    }

    fn history(&self) -> &History {
        &self.evidence.history
    }

    /// All trace events with their times on the history's clock.
    fn events(&self) -> impl Iterator<Item = (Time, &TraceEvent)> {
        let origin_ns = self.origin_ns;
        let lines = self.evidence.traces.iter().flat_map(Trace::lines);
        lines.map(move |line| (line.at_ns.saturating_sub(origin_ns), &line.event))
    }

    fn count(&self, wanted: impl Fn(&TraceEvent) -> bool) -> f64 {
        let within = self.events().filter(|(at, _)| (self.began..=self.ended).contains(at));
        within.filter(|(_, event)| wanted(event)).count() as f64
    }

    /// A candidate that times out stands again without a change of role; its vote for itself tells each time.
    fn elections(&self) -> f64 {
        let of = |trace: &Trace| {
            let times = candidacies(trace).map(|at_ns| at_ns.saturating_sub(self.origin_ns));
            times.filter(|at| (self.began..=self.ended).contains(at)).count()
        };
        self.evidence.traces.iter().map(of).sum::<usize>() as f64
    }

    fn term_rise(&self) -> f64 {
        let highest = |until: Time| {
            let terms = self.events().filter(|(at, _)| *at <= until).filter_map(|(_, event)| term_of(event));
            terms.max().unwrap_or(0)
        };
        (highest(self.ended) - highest(self.began)) as f64
    }

    fn leaderless_ms(&self) -> f64 {
        let until = self.history().phase_start(Phase::Recovery).unwrap_or(self.ended);
        let reigns = reigns(self.evidence, &disturbances(self.history()));
        let (mut led_until, mut leaderless) = (self.began, 0);
        for reign in reigns {
            let (from, end) = (reign.from.min(until), reign.until.min(until));
            leaderless += from.saturating_sub(led_until);
            led_until = led_until.max(end);
        }
        millis(leaderless + until.saturating_sub(led_until))
    }

    fn write_gap_ms(&self) -> f64 {
        let mut acknowledged = vec![self.began];
        let writes = self.history().operations().iter().filter(|operation| changes(operation.op.kind()));
        let writes = writes.filter(|operation| matches!(operation.completion, Some(Completion::Ok(_))));
        acknowledged.extend(writes.filter_map(|operation| operation.completed_at));
        acknowledged.retain(|at| (self.began..=self.ended).contains(at));
        acknowledged.push(self.ended);
        acknowledged.sort_unstable();
        millis(acknowledged.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
    }

    fn stable_after_ms(&self) -> f64 {
        let healed = disturbances(self.history()).iter().filter_map(|known| known.ended).max();
        let Some(healed) = healed else { return 0.0 };
        let won = self.events().filter(|(at, event)| {
            matches!(event, TraceEvent::Role { role: Role::Leader, .. }) && *at <= self.ended
        });
        let last = won.map(|(at, _)| at).max().unwrap_or(0);
        millis(last.saturating_sub(healed))
    }

    fn ok_operations(&self) -> f64 {
        let operations = self.history().operations().iter();
        operations.filter(|operation| matches!(operation.completion, Some(Completion::Ok(_)))).count() as f64
    }
}

/// When a node stood for election, on the clock of its trace.
pub(crate) fn candidacies(trace: &Trace) -> impl Iterator<Item = u64> {
    let stands = |event: &TraceEvent| matches!(event, TraceEvent::Vote { candidate, .. } if *candidate == trace.node());
    trace.lines().iter().filter(move |line| stands(&line.event)).map(|line| line.at_ns)
}

fn term_of(event: &TraceEvent) -> Option<Term> {
    match *event {
        TraceEvent::Boot { term, .. } | TraceEvent::Term { term } | TraceEvent::Role { term, .. } => {
            Some(term)
        }
        _ => None,
    }
}

fn changes(kind: OpKind) -> bool {
    !matches!(kind, OpKind::Read)
}

fn millis(time: Time) -> f64 {
    time as f64 / 1e6
}
