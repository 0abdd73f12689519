//! Looks at everything that all nodes put out and says what Raft rules out.
//!
//! The checks are those of Figure 3 of the paper, and what clients were promised. They are written anew here,
//! from outputs alone, so that they share no mistake with the core.

use std::collections::{BTreeMap, BTreeSet};

use cluster_under_test::raft::{Entry, Index, NodeId, Output, Payload, Raft, RequestId, Role, Term};
use cluster_under_test::trace::TraceEvent;

use crate::network::Node;

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    applied: BTreeMap<Index, Entry>,
    terms: BTreeMap<NodeId, Term>,
    /// How far the state of each node is, in its present life.
    states: BTreeMap<NodeId, Index>,
    answered: BTreeSet<String>,
    /// For each read, what its client knew to be written when it asked.
    reads: BTreeMap<RequestId, BTreeSet<String>>,
    anomalies: Vec<String>,
    /// All anomalies so far, by kind.
    pub(crate) kinds: BTreeSet<&'static str>,
}

impl Judge {
    pub(crate) fn read_begins(&mut self, request: RequestId) {
        self.reads.insert(request, self.answered.clone());
    }

    /// A new life: the term may be that of the disk again, as long as nothing was promised in a newer one.
    pub(crate) fn restarted(&mut self, id: NodeId) {
        self.terms.remove(&id);
        self.states.remove(&id);
    }

    pub(crate) fn answered(&mut self, command: &str) {
        self.answered.insert(command.to_owned());
    }

    pub(crate) fn take_anomalies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.anomalies)
    }

    /// In how many terms somebody led.
    pub(crate) fn leaders_seen(&self) -> usize {
        self.leaders.len()
    }

    fn anomaly(&mut self, kind: &'static str, what: &str) {
        self.kinds.insert(kind);
        self.anomalies.push(format!("{kind}: {what}"));
    }

    /// A node has put this out and carried it out.
    pub(crate) fn output(&mut self, id: NodeId, node: &Node, output: &Output) {
        match output {
            Output::Trace(TraceEvent::Role { role: Role::Leader, term }) => {
                let other = *self.leaders.entry(*term).or_insert(id);
                if other != id {
                    self.anomaly("election-safety", &format!("n{other} and n{id} lead term {term}"));
                }
                self.leader_has_all(id, node.raft.as_ref().expect("it has just stepped"));
            }
            Output::Trace(TraceEvent::Vote { term, candidate }) => {
                let other = *self.votes.entry((id, *term)).or_insert(*candidate);
                if other != *candidate {
                    let what = format!("n{id} votes for n{other} and n{candidate} in term {term}");
                    self.anomaly("durable-votes", &what);
                }
            }
            Output::Trace(TraceEvent::Term { term }) => {
                let before = self.terms.insert(id, *term).unwrap_or(0);
                if before > *term {
                    self.anomaly("terms", &format!("n{id} goes back from term {before} to {term}"));
                }
            }
            Output::Apply(entries) => {
                for entry in entries {
                    self.state_moves(id, entry.index);
                    let other = self.applied.entry(entry.index).or_insert_with(|| entry.clone());
                    if other != entry {
                        let (other, here) = (name(other), name(entry));
                        let what = format!("n{id} applies {here} where another applied {other}");
                        self.anomaly("state-machine-safety", &what);
                    }
                }
            }
            Output::Restore(snapshot) => {
                self.state_moves(id, snapshot.index);
                self.state_is_a_prefix(id, &node.state);
            }
            Output::ReadReady { request } => {
                let seen: BTreeSet<_> = node.state.iter().cloned().collect();
                let known = self.reads.get(request).expect("a read is served after it began");
                let missing: Vec<_> = known.difference(&seen).cloned().collect();
                if !missing.is_empty() {
                    self.anomaly("linearizable", &format!("a read at n{id} misses {}", missing.join(" ")));
                }
            }
            Output::Trace(_)
            | Output::Send(_)
            | Output::Write(_)
            | Output::Rejected { .. }
            | Output::Transferred { .. }
            | Output::Members(_)
            | Output::AckEarly { .. } => {}
        }
    }

    /// Leader completeness (§5.4.3): whatever anybody applied, a new leader has.
    fn leader_has_all(&mut self, id: NodeId, leader: &Raft) {
        let log = leader.entries();
        let first = log.first().map_or(leader.last_index() + 1, |entry| entry.index);
        for (index, entry) in
            self.applied.range(first..).map(|(index, entry)| (*index, entry.clone())).collect::<Vec<_>>()
        {
            if log.iter().find(|own| own.index == index) != Some(&entry) {
                self.anomaly("leader-completeness", &format!("n{id} leads without {}", name(&entry)));
                return;
            }
        }
    }

    /// A state goes through the log in order, and never back.
    fn state_moves(&mut self, id: NodeId, to: Index) {
        let before = self.states.insert(id, to).unwrap_or(0);
        if to <= before {
            self.anomaly(
                "state-machine-safety",
                &format!("the state of n{id} goes back from {before} to {to}"),
            );
        }
    }

    fn state_is_a_prefix(&mut self, id: NodeId, state: &[String]) {
        let commands = self.applied.values().filter_map(|entry| match &entry.payload {
            Payload::Noop | Payload::Members { .. } => None,
            Payload::Command { command, .. } => Some(String::from_utf8_lossy(command).into_owned()),
        });
        if !commands.take(state.len()).eq(state.iter().cloned()) {
            self.anomaly("state-machine-safety", &format!("n{id} restores a state that nobody was in"));
        }
    }

    /// Log matching (§5.3): two logs with the same entry agree on all before it.
    pub(crate) fn compare_logs<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) {
        let logs: Vec<_> =
            nodes.filter_map(|node| node.raft.as_ref().map(|raft| (node.id(), raft.entries()))).collect();
        for (i, (left, one)) in logs.iter().enumerate() {
            for (right, two) in &logs[i + 1..] {
                let two: BTreeMap<Index, &Entry> = two.iter().map(|entry| (entry.index, entry)).collect();
                let common: Vec<_> =
                    one.iter().filter_map(|entry| Some((entry, *two.get(&entry.index)?))).collect();
                let Some(last) = common.iter().rposition(|(one, two)| one.term == two.term) else { continue };
                if let Some((one, two)) = common[..=last].iter().find(|(one, two)| one != two) {
                    let what = format!("n{left} has {} and n{right} has {}", name(one), name(two));
                    self.anomaly("log-matching", &format!("{what} before an entry that both have"));
                }
            }
        }
    }

    /// Nothing that a client was told is done may be missing from a state that is up to date.
    pub(crate) fn nothing_is_lost(&mut self, state: &[String]) {
        let lost: Vec<_> = self.answered.iter().filter(|command| !state.contains(command)).cloned().collect();
        if !lost.is_empty() {
            self.anomaly("linearizable", &format!("{} was acknowledged and is lost", lost.join(" ")));
        }
    }
}

/// An entry as a story shows it: index@term, and the command.
pub(crate) fn name(entry: &Entry) -> String {
    let Entry { index, term, payload } = entry;
    match payload {
        Payload::Noop => format!("{index}@{term}"),
        Payload::Members { .. } => format!("{index}@{term}:members"),
        Payload::Command { command, .. } => format!("{index}@{term}:{}", String::from_utf8_lossy(command)),
    }
}
