//! Events as the lines of a story.
//!
//! Every line begins with the node and its term. What is repeated without news is left out: heartbeats and
//! their answers, questions that are asked again, entries that become durable at once.

use std::collections::{BTreeMap, BTreeSet};

use cluster_under_test::raft::{
    AppendOutcome, Envelope, Message, NodeId, Output, Payload, RejectReason, RequestId, Role, Term,
};
use cluster_under_test::trace::{SnapshotOrigin, TraceEvent, TransferPhase};

use crate::judge::name;
use crate::network::{Event, Network};

/// Remembers what was said, so as not to say it again.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    /// The last message of each repeated kind over each link.
    last: BTreeMap<(NodeId, NodeId, Repeated), String>,
    /// The losses told since the last command.
    lost: BTreeSet<String>,
    /// The members that each node goes by.
    members: BTreeMap<NodeId, String>,
}

/// Messages that are worth a line only when they say something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Repeated {
    Heartbeat,
    Acknowledgement,
    Question,
    Answer,
}

impl Printer {
    /// A new command: what happens from now on is told again.
    pub(crate) fn begin_command(&mut self) {
        self.lost.clear();
    }

    /// The line for an event, if there is something to say.
    pub(crate) fn line(&mut self, event: &Event, network: &Network) -> Option<String> {
        match event {
            Event::Output { node, term, output } => self.output(*node, *term, output, network),
            Event::Answer { node, term, command } => Some(format!("n{node}@{term} answers {command}")),
            Event::Lost(envelope) => match repeated(envelope) {
                Some(Repeated::Heartbeat | Repeated::Acknowledgement) => None,
                Some(Repeated::Question | Repeated::Answer) | None => {
                    let line = format!("{} is lost", message_line(envelope));
                    self.lost.insert(line.clone()).then_some(line)
                }
            },
            Event::Anomaly(what) => Some(format!("ANOMALY {what}")),
        }
    }

    fn output(&mut self, id: NodeId, term: Term, output: &Output, network: &Network) -> Option<String> {
        let what = match output {
            Output::Send(envelope) => {
                let line = message_line(envelope);
                if let Some(kind) = repeated(envelope) {
                    let last = self.last.insert((envelope.from, envelope.to, kind), line.clone());
                    if last.as_ref() == Some(&line) {
                        return None;
                    }
                }
                return Some(line);
            }
            Output::Write(_) => return None,
            Output::Apply(entries) => {
                let command = |payload: &Payload| matches!(payload, Payload::Command { .. });
                let names: Vec<_> =
                    entries.iter().filter(|entry| command(&entry.payload)).map(name).collect();
                if names.is_empty() {
                    return None;
                }
                format!("applies {}", names.join(" "))
            }
            Output::Restore(snapshot) => {
                format!(
                    "restores {}@{}: {}",
                    snapshot.index,
                    snapshot.term,
                    String::from_utf8_lossy(&snapshot.data)
                )
            }
            Output::ReadReady { request } => {
                format!("serves {}: {}", request_name(network, *request), list(&network.nodes[&id].state))
            }
            Output::Rejected { request, reason } => {
                format!("rejects {}: {}", request_name(network, *request), reason_name(*reason))
            }
            Output::Transferred { .. } | Output::Members(_) => return None,
            Output::AckEarly { .. } => "does not wait for the commit".to_owned(),
            Output::Trace(TraceEvent::Members { voters, learners, .. }) => {
                let mut what = format!("goes by voters {}", nodes(voters));
                if !learners.is_empty() {
                    what += &format!(", learners {}", nodes(learners));
                }
                let known = self.members.insert(id, what.clone());
                // A node begins with what its reader knows.
                if known.is_none_or(|known| known == what) {
                    return None;
                }
                what
            }
            Output::Trace(event) => trace(event, network.nodes[&id].slow_disk)?,
        };
        Some(format!("n{id}@{term} {what}"))
    }
}

fn trace(event: &TraceEvent, slow_disk: bool) -> Option<String> {
    Some(match event {
        TraceEvent::Role { role, .. } => format!("is {}", role_name(*role)),
        TraceEvent::Vote { candidate, .. } => format!("votes for n{candidate}"),
        TraceEvent::Append { first_index, entries, .. } => {
            let names: Vec<_> =
                (*first_index..).zip(entries).map(|(index, (term, _))| format!("{index}@{term}")).collect();
            format!("appends {}", names.join(" "))
        }
        TraceEvent::Truncate { from_index } => format!("removes everything from {from_index} on"),
        TraceEvent::Commit { index, entry_term, .. } => format!("commits {index}@{entry_term}"),
        TraceEvent::Snapshot { index, entry_term, origin, .. } => {
            let how = match origin {
                SnapshotOrigin::Taken => "has taken",
                SnapshotOrigin::Installed => "has installed",
            };
            format!("{how} snapshot {index}@{entry_term}")
        }
        TraceEvent::MembersCommitted { index } => format!("settles the members of {index}"),
        TraceEvent::Read { lease_age_ms: Some(age), .. } => format!("trusts a lease of {age} ms"),
        TraceEvent::Transfer { to, phase, .. } => match phase {
            TransferPhase::Asked => format!("will hand over to n{to}"),
            TransferPhase::Sent => return None,
            TransferPhase::Done => format!("has handed over to n{to}"),
            TransferPhase::Abandoned => format!("has not handed over to n{to}"),
        },
        TraceEvent::Durable { index, .. } if slow_disk => format!("is durable up to {index}"),
        TraceEvent::Durable { .. }
        | TraceEvent::Boot { .. }
        | TraceEvent::Term { .. }
        | TraceEvent::Apply { .. }
        | TraceEvent::Restore { .. }
        // Told above, or by messages and roles.
        | TraceEvent::PreVote { .. }
        | TraceEvent::PreVoteAnswer { .. }
        | TraceEvent::CampaignLost { .. }
        | TraceEvent::Read { .. }
        | TraceEvent::Members { .. }
        | TraceEvent::SnapshotSent { .. }
        | TraceEvent::Failpoint { .. } => return None,
    })
}

fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ")
}

fn repeated(envelope: &Envelope) -> Option<Repeated> {
    match &envelope.message {
        Message::Append { entries, .. } if entries.is_empty() => Some(Repeated::Heartbeat),
        Message::AppendReply { outcome: AppendOutcome::Matched { .. }, .. } => {
            Some(Repeated::Acknowledgement)
        }
        Message::PreVote { .. } | Message::Vote { .. } => Some(Repeated::Question),
        Message::PreVoteReply { .. } | Message::VoteReply { .. } => Some(Repeated::Answer),
        Message::Append { .. }
        | Message::AppendReply { .. }
        | Message::InstallSnapshot { .. }
        | Message::SnapshotReply { .. }
        | Message::Propose { .. }
        | Message::Change { .. }
        | Message::TimeoutNow
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. }
        | Message::Reject { .. } => None,
    }
}

fn message_line(envelope: &Envelope) -> String {
    let Envelope { from, to, term, message } = envelope;
    match message {
        // The term of these is not the sender's.
        Message::PreVote { last_index, last_term } => {
            format!("n{from}@{} → n{to} PreVote for term {term}, last={last_index}@{last_term}", term - 1)
        }
        Message::PreVoteReply { granted: true } => {
            format!("n{from} → n{to} PreVoteReply yes, for term {term}")
        }
        message => format!("n{from}@{term} → n{to} {}", message_text(message)),
    }
}

fn message_text(message: &Message) -> String {
    match message {
        Message::PreVote { .. } | Message::PreVoteReply { granted: true } => {
            unreachable!("these have a line of their own")
        }
        Message::PreVoteReply { granted: false } => "PreVoteReply no".to_owned(),
        Message::Vote { last_index, last_term, transfer } => {
            let cause = if *transfer { " by transfer" } else { "" };
            format!("Vote last={last_index}@{last_term}{cause}")
        }
        Message::TimeoutNow => "TimeoutNow".to_owned(),
        Message::Change { .. } => "Change".to_owned(),
        Message::VoteReply { granted } => format!("VoteReply {}", yes(*granted)),
        Message::Append { prev_index, prev_term, entries, commit, round } => {
            let names: Vec<_> = entries.iter().map(name).collect();
            format!(
                "Append prev={prev_index}@{prev_term} {} commit={commit}{}",
                list(&names),
                in_round(*round)
            )
        }
        Message::AppendReply { outcome: AppendOutcome::Matched { index }, round } => {
            format!("Matched {index}{}", in_round(*round))
        }
        Message::AppendReply { outcome, round } => {
            let AppendOutcome::Conflict { term, first_index, rejected_index } = outcome else {
                unreachable!("the other outcome is above")
            };
            let own = term.map_or("nothing there".to_owned(), |term| format!("term {term} there"));
            format!("Conflict at {rejected_index}: {own}, try {first_index}{}", in_round(*round))
        }
        Message::InstallSnapshot { index, last_term, offset, data, done, .. } => {
            let end = if *done { ", the last" } else { "" };
            let text = String::from_utf8_lossy(data);
            format!("InstallSnapshot {index}@{last_term} at byte {offset}: \"{text}\"{end}")
        }
        Message::SnapshotReply { index, next_offset, installed, .. } => {
            let next = if *installed { "installed".to_owned() } else { format!("next byte {next_offset}") };
            format!("SnapshotReply {index}: {next}")
        }
        Message::Propose { command, .. } => format!("Propose {}", String::from_utf8_lossy(command)),
        Message::ReadIndex { .. } => "ReadIndex".to_owned(),
        Message::ReadIndexReply { index, .. } => format!("ReadIndexReply {index}"),
        Message::Reject { reason, .. } => format!("Reject: {}", reason_name(*reason)),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

fn in_round(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" round={round}") }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn request_name(network: &Network, request: RequestId) -> String {
    network.requests.get(&request).cloned().unwrap_or_else(|| "a former request".to_owned())
}

/// A role as a reader says it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn reason_name(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::NoLeader => "no leader",
        RejectReason::NotLeader => "not the leader",
        RejectReason::NotReady => "not ready",
        RejectReason::Busy => "busy",
        RejectReason::ChangePending => "the last change is not committed",
        RejectReason::MemberExists => "already a member",
        RejectReason::MemberNotFound => "not a member",
        RejectReason::NotLearner => "not a learner",
        RejectReason::NotInSync => "not caught up",
        RejectReason::TooFewActive => "too few active voters",
        RejectReason::BadTransferee => "not a voter",
        RejectReason::Transferring => "handing over",
        RejectReason::TransferTimedOut => "no success in time",
    }
}
