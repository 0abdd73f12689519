//! The core of an anomaly: the events that it rests on, spelled out.
//!
//! An anomaly names its events by file and line. That is enough for a reader with the files at hand; a program, a
//! picture or a bug report wants the operations themselves. They are looked up in the evidence and never kept in
//! the finding, so a finding and its core cannot disagree.

use std::collections::HashSet;

use serde::Serialize;

use crate::event_ref::EventRef;
use crate::evidence::Evidence;
use crate::finding::Anomaly;
use crate::history::{Completion, NodeId, Op, Operation, ProcessId, Reply, Time, elements};
use crate::model::show;
use crate::trace::{Aside, PreVoteAnswer, Role, SnapshotOrigin, Trace, TraceEvent, TransferPhase};

/// What an anomaly rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// Operations of clients, by invocation.
    pub operations: Vec<CoreOperation>,
    /// Events of nodes, by time.
    pub trace: Vec<CoreEvent>,
}

/// An operation of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoreOperation {
    /// Who asked.
    pub process: ProcessId,
    /// Which node was asked.
    pub node: Option<NodeId>,
    /// What.
    #[serde(flatten)]
    pub op: Op,
    /// When the request was about to be sent.
    pub invoked_ns: Time,
    /// When the reply had been received, or the operation was given up.
    pub completed_ns: Option<Time>,
    /// How it ended; `None` if it was open when the history ended.
    pub completion: Option<Completion>,
    /// The lines of the history that hold it.
    pub lines: Vec<usize>,
    /// Its position in the history.
    #[serde(skip)]
    pub(crate) index: usize,
}

/// A trace event of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoreEvent {
    /// Whose.
    pub node: NodeId,
    /// When, on the clock of the history.
    pub time_ns: Time,
    /// What happened, in words.
    pub event: String,
    /// The line of the node's trace.
    pub line: usize,
}

impl Counterexample {
    /// Looks up what an anomaly names.
    pub fn of(evidence: &Evidence, anomaly: &Anomaly) -> Counterexample {
        let named: HashSet<&EventRef> = anomaly.events.iter().collect();
        let history = &evidence.history;
        let operation = |operation: &Operation| {
            let places = std::iter::once(operation.invoke_event).chain(operation.complete_event);
            let places: Vec<EventRef> = places.map(|event| history.locate(event)).collect();
            places.iter().any(|place| named.contains(place)).then(|| CoreOperation {
                process: operation.process,
                node: operation.node,
                op: operation.op.clone(),
                invoked_ns: operation.invoked_at,
                completed_ns: operation.completed_at,
                completion: operation.completion.clone(),
                lines: places.into_iter().map(|place| place.line).collect(),
                index: operation.index,
            })
        };
        let operations = history.operations().iter().filter_map(operation).collect();
        let mut trace: Vec<CoreEvent> =
            evidence.traces.iter().flat_map(|trace| core_events(evidence, trace, &named)).collect();
        trace.sort_by_key(|event| (event.time_ns, event.node));
        Counterexample { operations, trace }
    }

    /// Whether the anomaly rests on something other than single operations and trace events.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.trace.is_empty()
    }
}

fn core_events<'a>(
    evidence: &'a Evidence,
    trace: &'a Trace,
    named: &'a HashSet<&EventRef>,
) -> impl Iterator<Item = CoreEvent> + 'a {
    let origin = evidence.history.header().origin_ns;
    trace.events().filter_map(move |(place, event)| {
        let at = place.locate();
        named.contains(&at).then(|| CoreEvent {
            node: trace.node(),
            time_ns: place.at_ns().saturating_sub(origin),
            event: tell(event),
            line: at.line,
        })
    })
}

/// A trace event in a few words.
fn tell(event: &TraceEvent) -> String {
    match event {
        TraceEvent::Boot { term, last_index, last_term, .. } => {
            format!("starts in term {term}, log ends at {last_index}@{last_term}")
        }
        TraceEvent::Term { term } => format!("enters term {term}"),
        TraceEvent::Role { role, term } => match role {
            Role::Leader => format!("leads term {term}"),
            Role::Candidate => format!("candidate in term {term}"),
            Role::PreCandidate => format!("pre-candidate in term {term}"),
            Role::Follower => format!("follower in term {term}"),
        },
        TraceEvent::Vote { term, candidate } => format!("votes for {candidate} in term {term}"),
        TraceEvent::Append { first_index, entries, .. } => match entries.as_slice() {
            [] => format!("appends nothing at {first_index}"),
            [(term, _)] => format!("appends {first_index}@{term}"),
            [.., (term, _)] => {
                format!("appends {first_index} to {}@{term}", first_index + entries.len() as u64 - 1)
            }
        },
        TraceEvent::Truncate { from_index } => format!("cuts its log from {from_index}"),
        TraceEvent::Durable { index, entry_term } => format!("has {index}@{entry_term} on disk"),
        TraceEvent::Commit { index, entry_term, .. } => format!("commits {index}@{entry_term}"),
        TraceEvent::Apply { index, entry_term, .. } => format!("applies {index}@{entry_term}"),
        TraceEvent::Snapshot { index, entry_term, origin, .. } => match origin {
            SnapshotOrigin::Taken => format!("has taken a snapshot up to {index}@{entry_term}"),
            SnapshotOrigin::Installed => format!("has installed a snapshot up to {index}@{entry_term}"),
        },
        TraceEvent::Restore { index, .. } => format!("restores a snapshot up to {index}"),
        TraceEvent::Members { index, voters, .. } => {
            format!("goes by the voters {} of entry {index}", crate::raft::names(voters))
        }
        TraceEvent::Aside(aside) => tell_aside(aside),
    }
}

fn tell_aside(aside: &Aside) -> String {
    match aside {
        Aside::PreVote { term } => format!("asks whether it would win term {term}"),
        Aside::PreVoteAnswer { term, candidate, answer } => {
            let answer = match answer {
                PreVoteAnswer::Granted => "yes",
                PreVoteAnswer::LeaderAlive => "no, it hears a leader",
                PreVoteAnswer::LogBehind => "no, its log is behind",
                PreVoteAnswer::TermPassed => "no, the term has passed",
            };
            format!("answers {candidate} about term {term}: {answer}")
        }
        Aside::CampaignLost { term, votes, voters } => {
            format!("gives up term {term} with {votes} of {voters} votes")
        }
        Aside::Read { index, lease_age_ms: Some(age), .. } => {
            format!("serves a read at {index} by a lease of {age} ms")
        }
        Aside::Read { index, .. } => format!("serves a read at {index}"),
        Aside::MembersCommitted { index } => format!("knows the members of entry {index} to be committed"),
        Aside::SnapshotSent { index, to } => format!("begins to send {to} a snapshot up to {index}"),
        Aside::Transfer { to, phase, .. } => match phase {
            TransferPhase::Asked => format!("will hand over to {to}"),
            TransferPhase::Sent => format!("tells {to} to campaign"),
            TransferPhase::Done => format!("has handed over to {to}"),
            TransferPhase::Abandoned => format!("has not handed over to {to}"),
        },
        Aside::Failpoint { name } => format!("dies at the failpoint {name}"),
    }
}

/// An operation and what it was told, in a few words: `read → 5`.
pub(crate) fn phrase(op: &Op, completion: Option<&Completion>) -> String {
    match (op, completion) {
        (Op::Txn { .. }, Some(Completion::Ok(Reply::Txn { ops }))) => {
            Op::Txn { ops: ops.clone() }.to_string()
        }
        (op, Some(Completion::Ok(Reply::Read { value } | Reply::Dequeue { value }))) => {
            format!("{op} → {}", show(*value))
        }
        (op, Some(Completion::Ok(Reply::ReadList { values }))) => format!("{op} → {}", elements(values)),
        (op, Some(Completion::Ok(Reply::NotSwapped { seen }))) => format!("{op} → saw {}", show(*seen)),
        (op, Some(Completion::Ok(Reply::Mismatch))) => format!("{op} → refused"),
        (op, Some(Completion::Ok(_))) => op.to_string(),
        (op, Some(Completion::Fail { .. })) => format!("{op} ✗"),
        (op, Some(Completion::Info { .. }) | None) => format!("{op} ?"),
    }
}
