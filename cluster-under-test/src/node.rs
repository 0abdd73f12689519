//! One node: the loop that owns the protocol and the store, and carries out what the protocol asks for.
//!
//! Everything that happens (a tick, a message, a client's request, a write that became durable) becomes one
//! [`Input`]; the outputs are carried out before the next one. The rule: what a step did is in the trace before any
//! message, write or answer of that step leaves the loop. The loop itself never waits for a disk or a peer; those
//! have a thread and tasks of their own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{ASKS_MAX, Ask, Cluster, Done, Identity, Status};
use crate::bugs::Bug;
use crate::failpoint::{self, Failpoints};
use crate::kv::{DecodeError, Kv, Txn};
use crate::raft::{
    AppendOutcome, Config, Entry, Envelope, Index, Input, Member, Members, Message, NodeId, Output, Payload,
    Raft, Recovered, RejectReason, RequestId, Role, Snapshot, Term, Write,
};
use crate::rules::{Paper, Rules};
use crate::storage::{SEGMENT_BYTES, Storage, StorageError, Writer, describe};
use crate::trace::{Digest, TraceEvent, TraceWriter, monotonic_ns};
use crate::transport::{Membership, Transport};

/// One tick of the protocol.
pub const TICK: Duration = Duration::from_millis(10);
/// Requests that wait for the protocol. Beyond, they are turned away.
const WAITING_MAX: usize = 4096;
/// How often requests are forgotten whose client has gone or whose time is up.
const SWEEP_TICKS: u32 = 100;

/// All that a node is started with.
pub struct Settings {
    /// The protocol's knobs.
    pub raft: Config,
    /// The planted bug, if any.
    pub bug: Option<&'static Bug>,
    /// Who is in the cluster.
    pub membership: Membership,
    /// How long a follower waits for its leader at least.
    pub election_timeout: Duration,
    /// Log and snapshots.
    pub data_dir: PathBuf,
    /// The trace, if one is wanted.
    pub trace: Option<PathBuf>,
    /// The file that arms failpoints, if there may be one.
    pub failpoints: Option<PathBuf>,
    /// A snapshot is taken each time so many entries were applied.
    pub snapshot_entries: u64,
    /// How long a client waits for an answer.
    pub request_timeout: Duration,
}

/// Why a node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its trace.
    #[error("write the trace {}: {}", .path.display(), describe(.source))]
    Trace {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A snapshot that is whole, but not ours.
    #[error("restore the snapshot of index {index}: {source}")]
    Restore {
        /// The snapshot's index.
        index: Index,
        /// What is wrong.
        source: DecodeError,
    },
    /// The runtime.
    #[error("{doing}: {}", describe(.source))]
    Runtime {
        /// What was asked of it.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A client's request that waits for the protocol.
struct Waiting {
    txn: Txn,
    reply: oneshot::Sender<Result<Done, RejectReason>>,
}

/// A client that waits for another configuration or leader.
type Administrator = oneshot::Sender<Result<Cluster, RejectReason>>;

/// What leaves the node, once the trace is written.
enum Effect {
    Send(Envelope),
    Write(Write),
    /// The client's command is applied.
    Applied(oneshot::Sender<Result<Done, RejectReason>>, Done),
    Administered(Administrator, Result<Cluster, RejectReason>),
    Answer(oneshot::Sender<Result<Done, RejectReason>>, Result<Done, RejectReason>),
}

struct Node {
    raft: Raft,
    kv: Kv,
    rules: &'static dyn Rules,
    trace: TraceWriter,
    trace_path: PathBuf,
    transport: Transport,
    writer: Writer,
    incarnation: u64,
    last_sequence: u64,
    waiting: BTreeMap<u64, Waiting>,
    administrators: BTreeMap<u64, Administrator>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    failpoints: Failpoints,
    /// The highest index that was acknowledged to a leader.
    acknowledged: Index,
    started: Instant,
    applied_index: Index,
    snapshot_entries: u64,
    snapshot_index: Index,
    seen: Standing,
}

/// What is worth a line in the log when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    role: Role,
    term: Term,
    leader: Option<NodeId>,
}

/// Runs a node until it is told to stop.
pub async fn run(settings: Settings, clients: TcpListener, peers: TcpListener) -> Result<(), NodeError> {
    let runtime = |doing| move |source| NodeError::Runtime { doing, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(runtime("listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(runtime("listen for SIGINT"))?;

    let identity = Identity { cluster: settings.membership.cluster, member: settings.membership.id };
    let (ask, mut asks) = mpsc::channel(ASKS_MAX);
    let (report, mut reports) = mpsc::unbounded_channel();
    let request_timeout = settings.request_timeout;
    let (mut node, mut received) = Node::start(settings, peers, report)?;

    let server = crate::api::serve(clients, identity, ask, request_timeout, node.addresses.clone());
    tokio::pin!(server);
    let mut ticks = interval(TICK);
    // A node that was paused must not see all missed ticks at once: it would believe that its leader was silent
    // for as long, before it has read the messages that wait for it.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks_to_sweep = SWEEP_TICKS;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                node.failpoints.refresh();
                node.step(Input::Tick)?;
                ticks_to_sweep -= 1;
                if ticks_to_sweep == 0 {
                    node.waiting.retain(|_, waiting| !waiting.reply.is_closed());
                    node.administrators.retain(|_, reply| !reply.is_closed());
                    ticks_to_sweep = SWEEP_TICKS;
                }
            }
            Some(envelope) = received.recv() => node.step(Input::Message(envelope))?,
            Some(report) = reports.recv() => node.step(Input::Persisted { seq: report? })?,
            Some(ask) = asks.recv() => node.answer(ask)?,
            served = &mut server => {
                served.map_err(runtime("serve clients"))?;
                unreachable!("serving has no end of its own");
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    node.writer.stop();
    Ok(())
}

impl Node {
    fn start(
        settings: Settings,
        peers: TcpListener,
        report: mpsc::UnboundedSender<Result<u64, StorageError>>,
    ) -> Result<(Self, mpsc::Receiver<Envelope>), NodeError> {
        let id = settings.membership.id;
        let opened = Storage::open(&settings.data_dir, SEGMENT_BYTES)?;
        if opened.torn_bytes > 0 {
            tracing::warn!("cut {} bytes of a torn tail off the write-ahead log", opened.torn_bytes);
        }
        let trace_path = settings.trace.clone().unwrap_or_default();
        let open_trace = || match &settings.trace {
            None => Ok(TraceWriter::none(id)),
            Some(path) => {
                TraceWriter::open(path, id).map_err(|source| NodeError::Trace { path: path.clone(), source })
            }
        };
        let mut trace = open_trace()?;
        trace.push(boot(&settings, &opened.recovered, opened.torn_bytes));
        trace.flush().map_err(|source| NodeError::Trace { path: trace_path.clone(), source })?;
        let failpoints = match &settings.failpoints {
            None => Failpoints::default(),
            Some(path) => Failpoints::watch(path, open_trace()?),
        };
        failpoints.hit(failpoint::AFTER_RECOVERY);

        let rules = settings.bug.map_or(&Paper as &'static dyn Rules, |bug| bug.rules);
        let storage = if rules.syncs_writes() { opened.storage } else { opened.storage.without_syncs() };
        let storage = storage.with_failpoints(failpoints.clone());
        let writer = Writer::start(storage, move |outcome| {
            // The loop is gone only when the node stops.
            let _ = report.send(outcome);
        })
        .map_err(|source| NodeError::Runtime { doing: "start the storage thread", source })?;
        // Its own stream: how often a peer is tried must not change when the next election begins.
        let rng = Pcg64::seed_from_u64(settings.raft.seed ^ id.rotate_left(32));
        let (transport, received) =
            Transport::start(&settings.membership, peers, settings.election_timeout, rng);

        let (raft, outputs) = Raft::new(settings.raft, rules, opened.recovered);
        let seen = Standing { role: raft.role(), term: raft.term(), leader: raft.leader() };
        let mut node = Self {
            raft,
            kv: Kv::default(),
            rules,
            trace,
            trace_path,
            transport,
            writer,
            // No two starts share it: the clock does not go back while the machine runs, and a start of a later
            // life of the machine at the very same nanosecond of it is no worry.
            incarnation: monotonic_ns(),
            last_sequence: 0,
            waiting: BTreeMap::new(),
            administrators: BTreeMap::new(),
            addresses: settings.membership.peers,
            failpoints,
            acknowledged: 0,
            started: Instant::now(),
            applied_index: 0,
            snapshot_entries: settings.snapshot_entries,
            snapshot_index: 0,
            seen,
        };
        node.carry_out(outputs)?;
        Ok((node, received))
    }

    fn answer(&mut self, ask: Ask) -> Result<(), NodeError> {
        // A reply that nobody waits for any more is no error: the client is gone.
        match ask {
            Ask::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Ask::Members { reply } => {
                let _ = reply.send(self.cluster());
            }
            Ask::Change { reply, .. } | Ask::Transfer { reply, .. }
                if self.administrators.len() >= WAITING_MAX =>
            {
                let _ = reply.send(Err(RejectReason::Busy));
            }
            Ask::Change { change, reply } => {
                let request = self.next_request();
                self.administrators.insert(request.sequence, reply);
                self.step(Input::Change { request, change })?;
            }
            Ask::Transfer { to, reply } => {
                let request = self.next_request();
                self.administrators.insert(request.sequence, reply);
                self.step(Input::Transfer { request, to })?;
            }
            Ask::Local { txn, reply } => {
                let _ = reply.send(Ok(Done { outcome: self.kv.read(&txn), term: self.raft.term() }));
            }
            Ask::Txn { reply, .. } if self.waiting.len() >= WAITING_MAX => {
                let _ = reply.send(Err(RejectReason::Busy));
            }
            Ask::Txn { txn, reply } => {
                let request = self.next_request();
                let input = if txn.is_read_only() {
                    Input::Read { request }
                } else {
                    Input::Propose { request, command: txn.encode() }
                };
                self.waiting.insert(request.sequence, Waiting { txn, reply });
                self.step(input)?;
            }
        }
        Ok(())
    }

    fn next_request(&mut self) -> RequestId {
        self.last_sequence += 1;
        RequestId { node: self.raft.id(), incarnation: self.incarnation, sequence: self.last_sequence }
    }

    /// The members, with the addresses that this node knows.
    fn cluster(&self) -> Cluster {
        let address = |id: &NodeId, member: &Member| match member.address.as_str() {
            "" => self.addresses.get(id).map(ToString::to_string).unwrap_or_default(),
            address => address.to_owned(),
        };
        let members = self.raft.members().0.iter();
        let members = members.map(|(id, member)| (*id, Member { address: address(id, member), ..*member }));
        Cluster { members: Members(members.collect()), term: self.raft.term(), revision: self.kv.revision() }
    }

    fn status(&self) -> Status {
        Status {
            members: self.raft.members().clone(),
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            commit_index: self.raft.commit_index(),
            applied_index: self.applied_index,
            revision: self.kv.revision(),
            size_bytes: self.kv.size_bytes(),
        }
    }

    fn step(&mut self, input: Input) -> Result<(), NodeError> {
        if let Input::Message(Envelope { message: Message::InstallSnapshot { done: true, .. }, .. }) = &input
        {
            self.failpoints.hit(failpoint::BEFORE_SNAPSHOT_INSTALL);
        }
        // Counted from 1: to a lease, 0 is "never".
        let now_ms = self.started.elapsed().as_millis() as u64 + 1;
        self.raft.observe_clock(now_ms);
        let outputs = self.raft.step(input);
        self.carry_out(outputs)
    }

    fn carry_out(&mut self, mut outputs: Vec<Output>) -> Result<(), NodeError> {
        loop {
            let mut effects = Vec::new();
            let led = self.seen.role == Role::Leader;
            for output in outputs {
                self.perform(output, &mut effects)?;
            }
            self.log_standing();
            self.flush_trace()?;
            if !led && self.seen.role == Role::Leader {
                self.failpoints.hit(failpoint::AFTER_LEADER_ELECTED);
            }
            for effect in effects {
                match effect {
                    Effect::Send(envelope) => {
                        self.fail_before_sending(&envelope);
                        self.transport.send(envelope);
                    }
                    Effect::Write(write) => {
                        let members = |entry: &Entry| matches!(entry.payload, Payload::Members { .. });
                        if write.entries.iter().any(members) {
                            self.failpoints.hit(failpoint::AFTER_MEMBERS_APPENDED);
                        }
                        self.writer.submit(write);
                    }
                    Effect::Applied(reply, done) => {
                        self.failpoints.hit(failpoint::BEFORE_CLIENT_REPLY);
                        let _ = reply.send(Ok(done));
                    }
                    Effect::Administered(reply, answer) => {
                        let _ = reply.send(answer);
                    }
                    Effect::Answer(reply, answer) => {
                        // The client is gone; its request has its effect all the same.
                        let _ = reply.send(answer);
                    }
                }
            }
            if self.applied_index < self.snapshot_index.saturating_add(self.snapshot_entries) {
                return Ok(());
            }
            self.snapshot_index = self.applied_index;
            outputs =
                self.raft.step(Input::SnapshotTaken { index: self.applied_index, data: self.kv.encode() });
        }
    }

    /// Dies, if it is told to, instead of keeping a promise that is durable.
    fn fail_before_sending(&mut self, envelope: &Envelope) {
        match envelope.message {
            Message::VoteReply { granted: true } => self.failpoints.hit(failpoint::BEFORE_VOTE_REPLY),
            Message::AppendReply { outcome: AppendOutcome::Matched { index }, .. }
                if index > self.acknowledged =>
            {
                self.failpoints.hit(failpoint::BEFORE_APPEND_REPLY);
                self.acknowledged = index;
            }
            Message::TimeoutNow => self.failpoints.hit(failpoint::BEFORE_TIMEOUT_NOW),
            _ => {}
        }
    }

    /// Does what stays inside the node; what leaves it becomes an effect.
    fn perform(&mut self, output: Output, effects: &mut Vec<Effect>) -> Result<(), NodeError> {
        match output {
            Output::Trace(event) => self.trace.push(event),
            Output::Send(envelope) => effects.push(Effect::Send(envelope)),
            Output::Write(write) => effects.push(Effect::Write(write)),
            Output::Apply(entries) => {
                for entry in entries {
                    self.apply(&entry, effects)?;
                }
            }
            Output::Restore(snapshot) => self.restore(&snapshot)?,
            Output::ReadReady { request } => {
                if let Some(Waiting { txn, reply }) = self.take_waiting(request) {
                    let done = Done { outcome: self.kv.read(&txn), term: self.raft.term() };
                    effects.push(Effect::Answer(reply, Ok(done)));
                }
            }
            Output::Rejected { request, reason } => {
                if let Some(Waiting { reply, .. }) = self.take_waiting(request) {
                    effects.push(Effect::Answer(reply, Err(reason)));
                } else if let Some(reply) = self.take_administrator(request) {
                    effects.push(Effect::Administered(reply, Err(reason)));
                }
            }
            Output::Transferred { request } => {
                if let Some(reply) = self.take_administrator(request) {
                    effects.push(Effect::Administered(reply, Ok(self.cluster())));
                }
            }
            Output::Members(members) => self.transport.learn(&members),
            Output::AckEarly { request } => {
                if let Some(Waiting { txn, reply }) = self.take_waiting(request) {
                    // What the answer would be if nothing came between: that is what this bug believes.
                    let outcome = self.kv.clone().apply(&txn, 0);
                    effects.push(Effect::Answer(reply, Ok(Done { outcome, term: self.raft.term() })));
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, effects: &mut Vec<Effect>) -> Result<(), NodeError> {
        if self.failpoints.is_any_armed() {
            // The commit of the entry is part of what the reader of the trace is to see.
            self.flush_trace()?;
            self.failpoints.hit(failpoint::BEFORE_APPLY);
        }
        self.applied_index = entry.index;
        let answered = match &entry.payload {
            Payload::Noop => None,
            Payload::Members { request, .. } => {
                if let Some(reply) = self.take_administrator(*request) {
                    effects.push(Effect::Administered(reply, Ok(self.cluster())));
                }
                None
            }
            Payload::Command { request, command } => {
                let txn =
                    Txn::decode(command).expect("a committed command was encoded by a node of this version");
                let outcome = self.kv.apply(&txn, self.rules.state_salt(self.raft.id()));
                // By request and not by index: another leader's entry may stand where the request once stood.
                self.take_waiting(*request).map(|waiting| (waiting.reply, outcome))
            }
        };
        self.trace.push(TraceEvent::Apply {
            index: entry.index,
            entry_term: entry.term,
            digest: Digest::of_entry(entry),
            state: self.kv.digest(),
        });
        if let Some((reply, outcome)) = answered {
            effects.push(Effect::Applied(reply, Done { outcome, term: self.raft.term() }));
        }
        Ok(())
    }

    fn flush_trace(&mut self) -> Result<(), NodeError> {
        self.trace.flush().map_err(|source| NodeError::Trace { path: self.trace_path.clone(), source })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), NodeError> {
        let index = snapshot.index;
        self.kv = Kv::decode(&snapshot.data).map_err(|source| NodeError::Restore { index, source })?;
        self.applied_index = index;
        self.snapshot_index = index;
        self.trace.push(TraceEvent::Restore { index, state: self.kv.digest() });
        Ok(())
    }

    /// The client's request, if it is one of this life of this node and still waits.
    fn take_waiting(&mut self, request: RequestId) -> Option<Waiting> {
        let ours = request.node == self.raft.id() && request.incarnation == self.incarnation;
        if ours { self.waiting.remove(&request.sequence) } else { None }
    }

    fn take_administrator(&mut self, request: RequestId) -> Option<Administrator> {
        let ours = request.node == self.raft.id() && request.incarnation == self.incarnation;
        if ours { self.administrators.remove(&request.sequence) } else { None }
    }

    fn log_standing(&mut self) {
        let now = Standing { role: self.raft.role(), term: self.raft.term(), leader: self.raft.leader() };
        if now == self.seen {
            return;
        }
        let Standing { role, term, leader } = now;
        let role = match role {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        match leader {
            Some(leader) => tracing::info!("{role} in term {term}, n{leader} leads"),
            None => tracing::info!("{role} in term {term}, no leader known"),
        }
        self.seen = now;
    }
}

fn boot(settings: &Settings, recovered: &Recovered, torn_bytes: u64) -> TraceEvent {
    let snapshot = recovered.snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
    let last = recovered.entries.last().map_or(snapshot, |entry| (entry.index, entry.term));
    TraceEvent::Boot {
        bug: settings.bug.map(|bug| bug.name.to_owned()),
        pre_vote: settings.raft.pre_vote,
        check_quorum: settings.raft.check_quorum,
        term: recovered.hard_state.term,
        vote: recovered.hard_state.vote,
        snapshot_index: snapshot.0,
        last_index: last.0,
        last_term: last.1,
        torn_bytes,
    }
}
