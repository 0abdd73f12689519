//! A cluster of cores without sockets, files or clocks: what happens next is always the caller's choice.
//!
//! A node is a core, a disk and a state machine that is the list of its commands. Messages wait in one queue
//! until they are delivered, lost or repeated; writes are durable at once, or wait on a slow disk until they
//! are persisted. A crash takes the core and the writes that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_under_test::raft::{
    Change, Config, Envelope, Input, Message, NodeId, Output, Payload, Raft, Recovered, RequestId, Term,
    Write,
};
use cluster_under_test::rules::Rules;

use crate::judge::Judge;

/// What a tick is on a node's clock.
pub(crate) const TICK_MS: u64 = 10;

/// Something that a reader of a story may want to see.
#[derive(Debug)]
pub(crate) enum Event {
    /// A core has put something out.
    Output { node: NodeId, term: Term, output: Output },
    /// A client got its answer.
    Answer { node: NodeId, term: Term, command: String },
    /// A message did not arrive.
    Lost(Envelope),
    /// Something that Raft rules out.
    Anomaly(String),
}

/// One node.
pub(crate) struct Node {
    id: NodeId,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    disk: Recovered,
    /// Writes wait for [`Network::persist`].
    pub(crate) slow_disk: bool,
    waiting: VecDeque<Write>,
    /// The state machine.
    pub(crate) state: Vec<String>,
    incarnation: u64,
    requests: u64,
    /// Ticks of all its lives: what its clock shows.
    ticks: u64,
}

/// The cluster and everything under way in it.
pub(crate) struct Network {
    config: Config,
    rules: &'static dyn Rules,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) in_flight: Vec<Envelope>,
    /// Messages that arrived and will arrive again.
    pub(crate) late: Vec<Envelope>,
    /// Links that lose what is sent over them, as (from, to).
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    pub(crate) judge: Judge,
    /// What has happened since it was last taken.
    pub(crate) events: Vec<Event>,
    /// What clients wait for: the command, or the name of the read.
    pub(crate) requests: BTreeMap<RequestId, String>,
}

impl Network {
    /// Nodes with empty disks: the voters, and some that may be added. `config.id` does not matter.
    pub(crate) fn new(config: Config, spares: u64, rules: &'static dyn Rules) -> Self {
        let mut network = Self {
            nodes: BTreeMap::new(),
            in_flight: Vec::new(),
            late: Vec::new(),
            cuts: BTreeSet::new(),
            judge: Judge::default(),
            events: Vec::new(),
            requests: BTreeMap::new(),
            config,
            rules,
        };
        for id in 1..=network.config.voters.len() as NodeId + spares {
            let node = Node {
                id,
                raft: None,
                disk: Recovered::default(),
                slow_disk: false,
                waiting: VecDeque::new(),
                state: Vec::new(),
                incarnation: 0,
                requests: 0,
                ticks: 0,
            };
            network.nodes.insert(id, node);
            network.restart(id);
        }
        network
    }

    pub(crate) fn raft(&self, id: NodeId) -> Option<&Raft> {
        self.nodes[&id].raft.as_ref()
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the node is a member")
    }

    /// Takes a node down with all that is not durable.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        node.raft = None;
        node.waiting.clear();
        node.state.clear();
    }

    /// Starts a node that is down from what its disk holds.
    pub(crate) fn restart(&mut self, id: NodeId) {
        let rules = self.rules;
        let mut config = Config { id, ..self.config.clone() };
        let node = self.node(id);
        assert!(node.raft.is_none(), "only a node that is down can start");
        node.incarnation += 1;
        config.seed = config.seed.wrapping_mul(31).wrapping_add(node.incarnation);
        let (raft, outputs) = Raft::new(config, rules, node.disk.clone());
        node.raft = Some(raft);
        self.judge.restarted(id);
        self.carry_out(id, outputs);
    }

    /// As [`Network::restart`], unless the node is up.
    pub(crate) fn restart_if_down(&mut self, id: NodeId) {
        if self.raft(id).is_none() {
            self.restart(id);
        }
    }

    /// From now on writes of `id` wait, or no more.
    pub(crate) fn set_slow_disk(&mut self, id: NodeId, slow: bool) {
        self.node(id).slow_disk = slow;
        if !slow {
            self.persist(id, usize::MAX);
        }
    }

    /// Cuts all links of a node, both ways.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        let others = self.nodes.keys().copied().filter(|&other| other != id);
        self.cuts.extend(others.flat_map(|other| [(id, other), (other, id)]).collect::<Vec<_>>());
    }

    /// One step of one node, and what follows from it at once.
    pub(crate) fn step(&mut self, id: NodeId, input: Input) {
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        node.ticks += u64::from(matches!(input, Input::Tick));
        raft.observe_clock(TICK_MS * node.ticks + 1);
        let outputs = raft.step(input);
        self.carry_out(id, outputs);
        if !self.nodes[&id].slow_disk {
            self.persist(id, usize::MAX);
        }
    }

    /// Makes up to `count` waiting writes of a node durable.
    pub(crate) fn persist(&mut self, id: NodeId, count: usize) {
        let node = self.node(id);
        let mut last = None;
        for _ in 0..count {
            let Some(write) = node.waiting.pop_front() else { break };
            last = Some(write.seq);
            store(&mut node.disk, write);
        }
        if let Some(seq) = last {
            self.step(id, Input::Persisted { seq });
        }
    }

    /// A client of `id` asks for a command.
    pub(crate) fn propose(&mut self, id: NodeId, command: &str) {
        let request = self.request(id, command);
        self.step(id, Input::Propose { request, command: command.as_bytes().to_vec() });
    }

    /// A client of `id` asks for the state; `name` names the read.
    pub(crate) fn read(&mut self, id: NodeId, name: &str) {
        let request = self.request(id, name);
        self.judge.read_begins(request);
        self.step(id, Input::Read { request });
    }

    /// A client of `id` asks for another configuration.
    pub(crate) fn change(&mut self, id: NodeId, name: &str, change: Change) {
        let request = self.request(id, name);
        self.step(id, Input::Change { request, change });
    }

    /// A client of `id` asks it to hand over its leadership.
    pub(crate) fn transfer(&mut self, id: NodeId, to: NodeId) {
        let request = self.request(id, &format!("the transfer to n{to}"));
        self.step(id, Input::Transfer { request, to });
    }

    /// As [`Network::propose`], unless the node is down.
    pub(crate) fn propose_if_up(&mut self, id: NodeId, command: &str) {
        if self.raft(id).is_some() {
            self.propose(id, command);
        }
    }

    /// As [`Network::read`], unless the node is down.
    pub(crate) fn read_if_up(&mut self, id: NodeId) {
        if self.raft(id).is_some() {
            self.read(id, "read");
        }
    }

    fn request(&mut self, id: NodeId, name: &str) -> RequestId {
        let node = self.node(id);
        node.requests += 1;
        let request = RequestId { node: id, incarnation: node.incarnation, sequence: node.requests };
        self.requests.insert(request, name.to_owned());
        request
    }

    /// The state machine of `id` is encoded.
    pub(crate) fn take_snapshot(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(raft) = &node.raft else { return };
        let (index, data) = (raft.applied_index(), node.state.join(" ").into_bytes());
        self.step(id, Input::SnapshotTaken { index, data });
    }

    /// Brings a message to its node, unless the link is cut or the node is down.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        let link = (envelope.from, envelope.to);
        if self.cuts.contains(&link) || self.nodes[&envelope.to].raft.is_none() {
            self.events.push(Event::Lost(envelope));
        } else {
            self.step(envelope.to, Input::Message(envelope));
        }
    }

    /// Whether a network may bring it twice: a forwarded command travels over a connection that does not.
    pub(crate) fn may_repeat(envelope: &Envelope) -> bool {
        !matches!(envelope.message, Message::Propose { .. } | Message::Change { .. })
    }

    /// Every core, for the message of a test that fails.
    pub(crate) fn describe(&self) -> String {
        self.nodes.values().map(|node| format!("{:?}\n", node.raft)).collect()
    }

    fn carry_out(&mut self, id: NodeId, outputs: Vec<Output>) {
        for output in outputs {
            let node = self.nodes.get_mut(&id).expect("the node is a member");
            let term = node.raft.as_ref().expect("only a node that is up puts anything out").term();
            let mut answers = Vec::new();
            let mut settled = Vec::new();
            match &output {
                Output::Send(envelope) => self.in_flight.push(envelope.clone()),
                Output::Write(write) => node.waiting.push_back(write.clone()),
                Output::Apply(entries) => {
                    for entry in entries {
                        if let Payload::Members { request, .. } = &entry.payload
                            && (request.node, request.incarnation) == (id, node.incarnation)
                        {
                            settled.push(*request);
                        }
                        let Payload::Command { request, command } = &entry.payload else { continue };
                        let command = String::from_utf8(command.clone()).expect("commands are words");
                        node.state.push(command.clone());
                        if (request.node, request.incarnation) == (id, node.incarnation) {
                            answers.push((*request, command));
                        }
                    }
                }
                Output::Restore(snapshot) => {
                    let text = String::from_utf8(snapshot.data.clone()).expect("commands are words");
                    node.state = text.split_whitespace().map(str::to_owned).collect();
                }
                Output::AckEarly { request } => answers.push((*request, self.requests[request].clone())),
                Output::Transferred { request } => settled.push(*request),
                Output::ReadReady { .. }
                | Output::Rejected { .. }
                | Output::Members(_)
                | Output::Trace(_) => {}
            }
            self.judge.output(id, node, &output);
            self.events.push(Event::Output { node: id, term, output });
            for request in settled {
                if let Some(command) = self.requests.remove(&request) {
                    self.events.push(Event::Answer { node: id, term, command });
                }
            }
            for (request, command) in answers {
                if self.requests.remove(&request).is_some() {
                    self.judge.answered(&command);
                    self.events.push(Event::Answer { node: id, term, command });
                }
            }
            self.events.extend(self.judge.take_anomalies().into_iter().map(Event::Anomaly));
        }
    }
}

impl Node {
    pub(crate) fn id(&self) -> NodeId {
        self.id
    }
}

/// What a write does to a disk, in the order that [`Write`] gives.
fn store(disk: &mut Recovered, write: Write) {
    if let Some(snapshot) = write.snapshot {
        if write.reset_log {
            disk.entries.clear();
        } else {
            disk.entries.retain(|entry| entry.index > snapshot.index);
        }
        disk.snapshot = Some(snapshot);
    }
    if let Some(from) = write.truncate_from {
        disk.entries.retain(|entry| entry.index < from);
    }
    // An entry that was written while a snapshot of it was taken is in the snapshot.
    let included = disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    disk.entries.extend(write.entries.into_iter().filter(|entry| entry.index > included));
    if let Some(hard_state) = write.hard_state {
        disk.hard_state = hard_state;
    }
}
