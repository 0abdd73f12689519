//! Situations of clients: what they asked while leadership moved, and what became of what they were not told.

use std::collections::{BTreeMap, HashMap};

use super::cluster::Cluster;
use super::environment::Harm;
use super::moment::{Moment, What};
use super::{Seen, Situation, Watch};
use crate::finding::EventRef;
use crate::history::{
    Completion, Event, EventIndex, History, MicroOp, NodeId, Op, OpKind, ProcessId, Reply, Value,
};
use crate::trace::{Aside, Role, Term, TraceEvent};

/// Whose state is it that the read shows, the old leader's or the new one's?
pub(super) const READ_DURING_LEADER_CHANGE: Situation = Situation {
    name: "read-during-leader-change",
    about: "a read was under way while a new leader took over, and was answered",
    source: "Raft paper, section 8; thesis, section 6.4",
    steps: &["a new leader took over", "a read was under way meanwhile", "such a read was answered"],
    watch: || Box::<ReadDuringChange>::default(),
};

#[derive(Default)]
struct ReadDuringChange {
    open: Open,
    /// Reads under way since before the latest change, and where that was.
    spanning: BTreeMap<ProcessId, EventRef>,
}

impl Watch for ReadDuringChange {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if let Some((_, &TraceEvent::Role { role: Role::Leader, term })) = now.traced()
            && cluster.newest_leader().is_some_and(|(newest, _)| newest < term)
        {
            seen.step(0);
            for (process, _) in self.open.0.iter().filter(|(_, asked)| asked.kind == OpKind::Read) {
                if self.spanning.insert(*process, now.locate()).is_none() {
                    seen.step(1);
                }
            }
        }
        let Some(done) = self.open.follow(now) else { return };
        let Some(elected_at) = self.spanning.remove(&done.process) else { return };
        if matches!(done.completion, Completion::Ok(_)) {
            seen.reached(now.time, || {
                let text = format!("a read of process {} spans an election", done.process.0);
                (text, vec![done.invoked_at(), elected_at, now.locate()])
            });
        }
    }
}

/// Right only if it was committed, or confirmed, before the newer leader came.
pub(super) const ANSWERED_BY_OLD_LEADER: Situation = Situation {
    name: "answered-by-old-leader",
    about: "an operation succeeded at a leader while another already led a newer term",
    source: "Raft thesis, section 6.4: stale reads by a deposed leader",
    steps: &["two leaders were alive when a client was answered", "the older one of them gave an answer"],
    watch: || Box::<OldLeader>::default(),
};

#[derive(Default)]
struct OldLeader {
    open: Open,
}

impl Watch for OldLeader {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some(done) = self.open.follow(now) else { return };
        let old = |term: Term| cluster.newest_leader().is_some_and(|(newest, _)| newest > term);
        if !cluster.nodes().any(|(_, node)| node.leads() && old(node.term)) {
            return;
        }
        seen.step(0);
        let asked = done.asked.node.and_then(|id| Some((id, cluster.node(id)?)));
        let Some((id, node)) = asked.filter(|(_, node)| node.leads() && old(node.term)) else { return };
        if matches!(done.completion, Completion::Ok(_)) {
            seen.reached(now.time, || {
                let text = format!("{id}, leader of term {}, answered a {}", node.term, done.asked.kind);
                (text, vec![done.invoked_at(), now.locate()])
            });
        }
    }
}

/// The promise that the lease rests on is measured by clocks, and this one lies.
pub(super) const LEASE_UNDER_BENT_CLOCK: Situation = Situation {
    name: "lease-under-bent-clock",
    about: "a read was served by a lease while the clock of the node was bent",
    source: "Raft thesis, section 6.4.1: bounded clock drift",
    steps: &["a clock was bent", "a read was served by a lease", "both on one node at once"],
    watch: || Box::new(BentLease),
};

struct BentLease;

impl Watch for BentLease {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if Cluster::newly_in_force(now, Harm::Clock) {
            seen.step(0);
        }
        let Some((id, &TraceEvent::Aside(Aside::Read { term, lease_age_ms: Some(age_ms), .. }))) =
            now.traced()
        else {
            return;
        };
        seen.step(1);
        if let Some(bent) = cluster.fault_on(Harm::Clock, id) {
            seen.reached(now.time, || {
                let text =
                    format!("{id} read by a lease of term {term}, {age_ms} ms old, under {}", bent.fault);
                (text, vec![bent.at.clone(), now.locate()])
            });
        }
    }
}

/// The client gave up, and it happened: what makes `info` different from `fail`.
pub(super) const INFO_OPERATION_TOOK_EFFECT: Situation = Situation {
    name: "info-operation-took-effect",
    about: "an update whose client was told nothing was seen by a later answer",
    source: "Raft paper, section 8: a command may be executed without a reply",
    steps: &["an update ended without an answer", "an answer showed its value"],
    watch: || Box::<TookEffect>::default(),
};

#[derive(Default)]
struct TookEffect {
    open: Open,
    updates: HashMap<String, HashMap<Value, Update>>,
}

/// What is known of the update that wrote a value.
enum Update {
    /// Not answered yet; where its value was seen meanwhile.
    Open { seen_at: Option<EventRef> },
    /// Given up.
    Info { given_up_at: EventRef },
    /// Answered, or told already, or one of several that wrote this value.
    Settled,
}

impl Watch for TookEffect {
    fn before(&mut self, now: &Moment<'_>, _cluster: &Cluster<'_>, seen: &mut Seen) {
        if let Some(Event::Invoke { op, .. }) = now.recorded() {
            for (key, value) in written(op) {
                let known = self.updates.entry(key.to_owned()).or_default();
                known
                    .entry(value)
                    .and_modify(|update| *update = Update::Settled)
                    .or_insert(Update::Open { seen_at: None });
            }
        }
        let Some(done) = self.open.follow(now) else { return };
        let op = done.op();
        match done.completion {
            Completion::Ok(reply) => {
                self.settle(op);
                for (key, value) in shown(op, reply) {
                    self.see(key, value, now, seen);
                }
            }
            Completion::Fail { .. } => self.settle(op),
            Completion::Info { .. } => self.give_up(op, now, seen),
        }
    }
}

impl TookEffect {
    fn update(&mut self, key: &str, value: Value) -> Option<&mut Update> {
        self.updates.get_mut(key)?.get_mut(&value)
    }

    fn settle(&mut self, op: &Op) {
        for (key, value) in written(op) {
            *self.update(key, value).expect("it was noted when it was invoked") = Update::Settled;
        }
    }

    fn give_up(&mut self, op: &Op, now: &Moment<'_>, seen: &mut Seen) {
        for (key, value) in written(op) {
            seen.step(0);
            let update = self.update(key, value).expect("it was noted when it was invoked");
            let Update::Open { seen_at } = update else { continue };
            match seen_at.take() {
                Some(shown) => {
                    *update = Update::Settled;
                    seen.reached(now.time, || {
                        (
                            format!("{value} of {key} was given up after it was seen"),
                            vec![shown, now.locate()],
                        )
                    });
                }
                None => *update = Update::Info { given_up_at: now.locate() },
            }
        }
    }

    fn see(&mut self, key: &str, value: Value, now: &Moment<'_>, seen: &mut Seen) {
        let Some(update) = self.update(key, value) else { return };
        match update {
            Update::Open { seen_at } => {
                seen_at.get_or_insert_with(|| now.locate());
            }
            Update::Info { given_up_at } => {
                let events = vec![given_up_at.clone(), now.locate()];
                *update = Update::Settled;
                let text = format!("{value} of {key} was seen after its client had given up");
                seen.reached(now.time, || (text, events));
            }
            Update::Settled => {}
        }
    }
}

/// Values by which an update is known again. Amounts added to a counter are not.
fn written(op: &Op) -> Vec<(&str, Value)> {
    match op {
        Op::Write { key, value } | Op::Append { key, value } | Op::Enqueue { key, value } => {
            vec![(key, *value)]
        }
        Op::Cas { key, to, .. } => vec![(key, *to)],
        Op::Txn { ops } => {
            let append = |op| match op {
                &MicroOp::Append { ref key, value } => Some((key.as_str(), value)),
                MicroOp::Read { .. } => None,
            };
            ops.iter().filter_map(append).collect()
        }
        Op::Add { .. }
        | Op::Read { .. }
        | Op::Delete { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. } => Vec::new(),
    }
}

/// Values that an answer shows to have been there.
fn shown<'a>(op: &'a Op, reply: &'a Reply) -> Vec<(&'a str, Value)> {
    let key = op.key().unwrap_or_default();
    match (op, reply) {
        (_, Reply::Read { value } | Reply::NotSwapped { seen: value } | Reply::Dequeue { value }) => {
            value.iter().map(|value| (key, *value)).collect()
        }
        (Op::Cas { from, .. }, Reply::Swapped) => vec![(key, *from)],
        (_, Reply::ReadList { values }) => values.iter().map(|value| (key, *value)).collect(),
        (_, Reply::Txn { ops }) => {
            let read = |op: &'a MicroOp| match op {
                MicroOp::Read { key, values: Some(values) } => Some((key.as_str(), values)),
                MicroOp::Read { values: None, .. } | MicroOp::Append { .. } => None,
            };
            let reads = ops.iter().filter_map(read);
            reads.flat_map(|(key, values)| values.iter().map(move |value| (key, *value))).collect()
        }
        _ => Vec::new(),
    }
}

/// The operations under way.
#[derive(Default)]
struct Open(BTreeMap<ProcessId, Asked>);

struct Asked {
    invoke: EventIndex,
    node: Option<NodeId>,
    kind: OpKind,
}

/// An operation that has just ended.
struct Done<'a> {
    history: &'a History,
    process: ProcessId,
    asked: Asked,
    completion: &'a Completion,
}

impl Open {
    fn follow<'a>(&mut self, now: &Moment<'a>) -> Option<Done<'a>> {
        let What::Recorded(recorded) = now.what else { return None };
        match recorded.event() {
            Event::Invoke { process, node, op, .. } => {
                let asked = Asked { invoke: recorded.index(), node: *node, kind: op.kind() };
                self.0.insert(*process, asked);
                None
            }
            Event::Complete { process, completion, .. } => {
                let asked = self.0.remove(process).expect("a well-formed history completes what was invoked");
                Some(Done { history: recorded.history(), process: *process, asked, completion })
            }
            Event::Fault { .. } | Event::Death { .. } | Event::Phase { .. } => None,
        }
    }
}

impl<'a> Done<'a> {
    fn invoked_at(&self) -> EventRef {
        self.history.locate(self.asked.invoke)
    }

    fn op(&self) -> &'a Op {
        let Event::Invoke { op, .. } = &self.history.events()[self.asked.invoke.0] else {
            unreachable!("the index is that of an invocation")
        };
        op
    }
}
