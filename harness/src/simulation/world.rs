//! The loop of a simulation: ticks, messages, clients and trouble, in one fixed order.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use checkers::history::{Event, Evidence, FaultPhase, Header, NodeId, OpKind, Outcome, Phase, Receipt};
use checkers::{Consistency, Expectations};
use cluster_under_test::raft::{self, Change, Input, Member, RequestId, Role, Suffrage};
use cluster_under_test::rules::Rules;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::clients::{Client, Scribe, Source, history_node};
use super::network::{Network, Weather};
use super::node::{Effect, Node, Now, TICK_NS};
use super::{Config, Recording};
use crate::config::Reads;
use crate::workload::{Generator, Seat};

/// The least election timeout, in ticks.
const ELECTION_TICKS: u32 = 20;
const HEARTBEAT_TICKS: u32 = 2;
/// How long the healed cluster may take until every node serves: many elections.
const RECOVERY_TICKS: u64 = 40 * ELECTION_TICKS as u64;

/// Which kinds of trouble a run has, and how much: drawn from its seed.
struct Knobs {
    weather: Weather,
    kinds: Vec<Kind>,
    /// Mean ticks between two changes of the trouble.
    period: u64,
    append_entries_max: usize,
    snapshot_chunk_bytes: usize,
    entries_kept: u64,
    sync_ticks_max: u64,
    /// How many of the nodes the cluster is founded with.
    founders: u64,
}

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cut,
    Crash,
    /// Every node at the same moment.
    PowerLoss,
    Pause,
    /// A member is added, promoted or removed.
    Members,
    /// A leader is told to hand over.
    Transfer,
    /// A clock runs faster or slower.
    Clock,
}

/// Each kind with the share of runs that have it.
const KINDS: [(Kind, f64); 7] = [
    (Kind::Cut, 0.7),
    (Kind::Crash, 0.6),
    (Kind::PowerLoss, 0.2),
    (Kind::Pause, 0.4),
    (Kind::Members, 0.4),
    (Kind::Transfer, 0.3),
    (Kind::Clock, 0.3),
];
/// Rates of clocks that no lease of 90 % minds: between the slowest and the fastest lie 6 %, and a tick.
const STEADY_PERCENT: std::ops::RangeInclusive<u64> = 97..=103;
/// Rates at which a leader still sends its heartbeats in time, and takes its lease to last for ages.
const BENT_PERCENT: std::ops::RangeInclusive<u64> = 20..=60;

impl Knobs {
    fn draw(rng: &mut Pcg64Mcg, nodes: u16, bent_clocks: bool) -> Self {
        let weather = Weather {
            loss: *[0.0, 0.02, 0.2].choose(rng).expect("not empty"),
            duplicate: *[0.0, 0.1].choose(rng).expect("not empty"),
            delay_max: *[1, 3, 12].choose(rng).expect("not empty"),
        };
        let mut kinds: Vec<Kind> =
            KINDS.iter().filter(|(_, share)| rng.random_bool(*share)).map(|(kind, _)| *kind).collect();
        if bent_clocks && !kinds.contains(&Kind::Clock) {
            kinds.push(Kind::Clock);
        }
        let spares =
            if kinds.contains(&Kind::Members) { rng.random_range(0..=u64::from(nodes / 2)) } else { 0 };
        Self {
            weather,
            founders: u64::from(nodes) - spares,
            kinds,
            period: rng.random_range(20..120),
            append_entries_max: *[1, 2, 16].choose(rng).expect("not empty"),
            snapshot_chunk_bytes: *[16, 200, 1 << 16].choose(rng).expect("not empty"),
            entries_kept: *[0, 10].choose(rng).expect("not empty"),
            sync_ticks_max: *[1, 3, 15].choose(rng).expect("not empty"),
        }
    }
}

fn member(suffrage: Suffrage) -> Member {
    Member { suffrage, address: String::new() }
}

pub(super) struct World {
    config: Config,
    knobs: Knobs,
    nodes: Vec<Node>,
    network: Network,
    clients: Vec<Client>,
    generator: Arc<dyn Generator>,
    scribe: Scribe,
    now: Now,
    /// When the trouble changes next.
    trouble_due: u64,
    cut: bool,
    /// The trouble that has begun and not ended, as the history tells it.
    open: Vec<(&'static str, Vec<NodeId>)>,
    rng: Pcg64Mcg,
}

impl World {
    pub(super) fn new(config: &Config, rules: &'static dyn Rules, generator: Arc<dyn Generator>) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(config.seed);
        let knobs = Knobs::draw(&mut rng, config.nodes, config.bent_clocks);
        let voters = (1..=u64::from(config.nodes)).collect::<Vec<_>>();
        let founders = (1..=knobs.founders).collect::<Vec<_>>();
        let lease_ms = (config.settings.reads == Reads::Lease).then(|| {
            let tick_ms = TICK_NS / 1_000_000;
            // A follower counts whole ticks, and the first of them may come at once.
            u64::from(ELECTION_TICKS - 1) * tick_ms * u64::from(config.settings.lease_margin_percent) / 100
        });
        let nodes = voters.iter().map(|&id| {
            let raft = raft::Config {
                id,
                voters: founders.clone(),
                joins: false,
                lease_ms,
                heartbeat_ticks: HEARTBEAT_TICKS,
                election_ticks: ELECTION_TICKS,
                pre_vote: config.settings.pre_vote,
                check_quorum: config.settings.check_quorum,
                append_entries_max: knobs.append_entries_max,
                pipeline_max: 4,
                snapshot_chunk_bytes: knobs.snapshot_chunk_bytes,
                entries_kept: knobs.entries_kept,
                seed: 0,
            };
            let own = Pcg64Mcg::seed_from_u64(rng.random());
            Node::new(raft, rules, &config.settings, knobs.sync_ticks_max, own)
        });
        let nodes = nodes.collect::<Vec<_>>();
        let network = Network::new(knobs.weather, Pcg64Mcg::seed_from_u64(rng.random()));
        let mut scribe = Scribe::default();
        let header = Header {
            origin_ns: 0,
            system: "raft-kv (simulated)".to_owned(),
            workload: "register".to_owned(),
            seed: config.seed,
        };
        scribe.text = header.to_line() + "\n";
        let clients = (0..config.processes)
            .map(|number| {
                let node = voters[number as usize % voters.len()];
                let source = Source::Generator(Arc::clone(&generator), Seat::of(number, voters.len()));
                Client::new(node, source, &mut scribe, rng.random())
            })
            .collect();
        Self {
            config: config.clone(),
            knobs,
            nodes,
            network,
            clients,
            generator,
            scribe,
            now: Now { tick: 1 },
            trouble_due: 0,
            cut: false,
            open: Vec::new(),
            rng,
        }
    }

    /// Runs through all phases.
    pub(super) fn run(mut self) -> Recording {
        let ids = self.nodes.iter().map(Node::id).collect::<Vec<_>>();
        for index in 0..self.nodes.len() {
            self.on_node(index, Node::start);
        }
        self.phase(Phase::Drive);
        let end = self.now.tick + self.config.drive_ticks;
        self.trouble_due = self.now.tick + 2 * u64::from(ELECTION_TICKS);
        while self.now.tick < end {
            if self.now.tick >= self.trouble_due {
                self.trouble();
            }
            self.tick();
        }
        self.heal();

        self.phase(Phase::Recovery);
        let workers = self.clients.len();
        for &id in &ids {
            let source = Source::Generator(
                Arc::clone(&self.generator),
                Seat::probe(self.config.processes, history_node(id)),
            );
            let probe = Client::new(id, source, &mut self.scribe, self.rng.random());
            self.clients.push(probe);
        }
        let end = self.now.tick + RECOVERY_TICKS;
        while self.now.tick < end && !self.clients[workers..].iter().all(|probe| probe.written) {
            self.readmit();
            self.tick();
        }
        // Whatever is open stays open in the history: its end is unknown.
        self.clients.clear();

        self.phase(Phase::FinalReads);
        for &id in &ids {
            let source = Source::List(self.generator.final_reads());
            let reader = Client::new(id, source, &mut self.scribe, self.rng.random());
            self.clients.push(reader);
        }
        let end = self.now.tick + RECOVERY_TICKS;
        while self.now.tick < end && !self.clients.iter().all(Client::is_done) {
            self.tick();
        }
        self.phase(Phase::End);
        self.recording()
    }

    fn recording(self) -> Recording {
        let nodes = self.nodes.iter().map(|node| history_node(node.id())).collect::<Vec<_>>();
        let expectations = Expectations {
            nodes,
            operation_kinds: vec![OpKind::Read, OpKind::Write],
            ok_operations_min: 10,
            faults: Vec::new(),
            situations: Vec::new(),
            recovery_limit_ms: RECOVERY_TICKS * TICK_NS / 1_000_000,
            complete: true,
            consistency: Consistency::default(),
            unavailable_max_ms: None,
            bounds: Vec::new(),
        };
        let traces = self.nodes.into_iter().map(|node| (history_node(node.id()), node.trace())).collect();
        Recording { history: self.scribe.text, traces, expectations }
    }

    fn phase(&mut self, phase: Phase) {
        self.scribe.record(self.now.tick, |time| Event::Phase { time, phase });
    }

    /// One tick: messages arrive, nodes notice the time, clients ask and give up.
    fn tick(&mut self) {
        self.now.tick += 1;
        while let Some(message) = self.network.deliver(self.now.tick) {
            let index = self.index_of(message.to);
            self.on_node(index, |node, now, effects| node.step(Input::Message(message), now, effects));
        }
        for index in 0..self.nodes.len() {
            self.on_node(index, Node::tick);
        }
        for index in 0..self.clients.len() {
            self.clients[index].give_up(self.now.tick, false, &mut self.scribe);
            let Some((op, txn)) = self.clients[index].next(self.now.tick, &mut self.scribe) else { continue };
            let node = self.index_of(self.clients[index].node);
            let Some(request) = self.nodes[node].next_request() else {
                self.clients[index].refused(&op, self.now.tick, &mut self.scribe);
                continue;
            };
            self.clients[index].sent(op, request, self.now.tick);
            self.on_node(node, |node, now, effects| node.request(request, txn, now, effects));
        }
    }

    /// Lets a node do something, and carries out what follows from it. `None` if the node panicked over it.
    ///
    /// A node with a planted bug may corrupt itself and die of it. As with real processes, that is a finding about the
    /// node and not the end of the run.
    fn on_node<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Node, Now, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        let (now, node) = (self.now, &mut self.nodes[index]);
        let mut effects = Vec::new();
        // A panic may leave the node's memory in any state; it is thrown away below. Its disk is only ever changed by
        // whole writes.
        let acted = catch_unwind(AssertUnwindSafe(|| act(node, now, &mut effects)));
        match acted {
            Ok(result) => {
                self.carry_out(effects);
                Some(result)
            }
            Err(panic) => {
                self.died(index, &*panic);
                None
            }
        }
    }

    fn died(&mut self, index: usize, panic: &(dyn Any + Send)) {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned();
        let node = history_node(self.nodes[index].id());
        self.lose(index);
        self.scribe.record(self.now.tick, |time| Event::Death {
            time,
            node,
            status: "a panic".to_owned(),
            crash: true,
            log: words.lines().map(ToOwned::to_owned).collect(),
        });
    }

    /// The node's memory is gone, and with it every answer that it owed.
    fn lose(&mut self, index: usize) {
        self.nodes[index].crash();
        let id = self.nodes[index].id();
        for client in self.clients.iter_mut().filter(|client| client.node == id) {
            client.give_up(self.now.tick, true, &mut self.scribe);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.network.send(&message, self.now.tick),
                Effect::Answer(request, answer) => {
                    for client in &mut self.clients {
                        client.answer(request, &answer, self.now.tick, &mut self.scribe);
                    }
                }
            }
        }
    }

    fn index_of(&self, id: u64) -> usize {
        usize::try_from(id - 1).expect("a simulated cluster is small")
    }

    /// Changes the trouble: something new happens, or something old ends.
    fn trouble(&mut self) {
        self.trouble_due = self.now.tick + self.rng.random_range(1..=2 * self.knobs.period);
        match self.knobs.kinds.choose(&mut self.rng) {
            Some(Kind::Cut) => self.cut_or_restore(),
            Some(Kind::Crash) => self.crash_or_start(),
            Some(Kind::PowerLoss) => self.lose_power(),
            Some(Kind::Pause) => self.pause_or_resume(),
            // A server that was removed campaigns, and without these nothing keeps it from deposing the leader who would
            // take it back (thesis, §4.2.3): how long the cluster then needs, nobody promises.
            Some(Kind::Members) if self.config.settings.pre_vote && self.config.settings.check_quorum => {
                self.change_members();
            }
            Some(Kind::Members) => (),
            Some(Kind::Transfer) => self.hand_over(),
            Some(Kind::Clock) => self.bend_a_clock(),
            None => (),
        }
    }

    fn cut_or_restore(&mut self) {
        self.cut = !self.cut;
        let cuts = if self.cut { self.draw_cuts() } else { BTreeSet::new() };
        let hurt = cuts.iter().map(|(from, _)| history_node(*from)).collect::<BTreeSet<_>>();
        self.network.set_cuts(cuts);
        if self.cut {
            self.record("partition", true, hurt.into_iter().collect());
        } else {
            self.end_all("partition");
        }
    }

    /// Two sides, one node alone, one direction only, or every link by chance.
    fn draw_cuts(&mut self) -> BTreeSet<(u64, u64)> {
        let mut ids = self.nodes.iter().map(Node::id).collect::<Vec<_>>();
        ids.shuffle(&mut self.rng);
        let one_way = self.rng.random_bool(0.3);
        let scattered = self.rng.random_bool(0.2);
        let side = ids[..self.rng.random_range(1..=ids.len().div_ceil(2))].to_vec();
        let mut cuts = BTreeSet::new();
        for &from in &ids {
            for &to in &ids {
                let across = side.contains(&from) && !side.contains(&to);
                let back = side.contains(&to) && !side.contains(&from);
                let cut = if scattered { self.rng.random_bool(0.4) } else { across || (back && !one_way) };
                if from != to && cut {
                    cuts.insert((from, to));
                }
            }
        }
        cuts
    }

    fn crash_or_start(&mut self) {
        let down = (0..self.nodes.len()).filter(|&index| !self.nodes[index].is_up()).collect::<Vec<_>>();
        let up = (0..self.nodes.len()).filter(|&index| self.nodes[index].is_up()).collect::<Vec<_>>();
        match down.choose(&mut self.rng) {
            Some(&index) if up.is_empty() || self.rng.random_bool(0.6) => self.start(index),
            _ => {
                if let Some(&index) = up.choose(&mut self.rng) {
                    self.crash(index);
                }
            }
        }
    }

    fn crash(&mut self, index: usize) {
        self.lose(index);
        self.record("kill", true, vec![history_node(self.nodes[index].id())]);
    }

    fn start(&mut self, index: usize) {
        self.on_node(index, Node::start);
        self.record("kill", false, vec![history_node(self.nodes[index].id())]);
    }

    fn lose_power(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_up() {
                self.crash(index);
            }
        }
        for index in 0..self.nodes.len() {
            self.start(index);
        }
    }

    fn pause_or_resume(&mut self) {
        let index = self.rng.random_range(0..self.nodes.len());
        let node = history_node(self.nodes[index].id());
        if self.nodes[index].is_paused() {
            self.resume(index);
        } else if self.nodes[index].is_up() {
            self.nodes[index].pause();
            self.record("pause", true, vec![node]);
        }
    }

    fn resume(&mut self, index: usize) {
        self.on_node(index, Node::resume);
        self.record("pause", false, vec![history_node(self.nodes[index].id())]);
    }

    /// A node that believes to lead.
    fn leader(&mut self) -> Option<usize> {
        let leads = |node: &Node| node.raft().is_some_and(|raft| raft.role() == Role::Leader);
        let leaders = (0..self.nodes.len()).filter(|&index| leads(&self.nodes[index])).collect::<Vec<_>>();
        leaders.choose(&mut self.rng).copied()
    }

    /// Mostly what a leader would do, and now and then anything, asked of anybody.
    fn change_members(&mut self) {
        let index = match self.leader() {
            Some(leader) if self.rng.random_bool(0.8) => leader,
            _ => self.rng.random_range(0..self.nodes.len()),
        };
        let Some(members) = self.nodes[index].raft().map(|raft| raft.members().clone()) else { return };
        let all = 1..=self.nodes.len() as u64;
        let missing = all.clone().filter(|node| !members.0.contains_key(node)).collect::<Vec<_>>();
        let learner = members.learners().first().copied();
        let anybody = self.rng.random_range(all);
        let suffrage = *[Suffrage::Voter, Suffrage::Learner].choose(&mut self.rng).expect("not empty");
        let change = match (learner, missing.choose(&mut self.rng)) {
            (Some(node), _) if self.rng.random_bool(0.5) => Change::Promote { node },
            (_, Some(&node)) if self.rng.random_bool(0.6) => Change::Add { node, member: member(suffrage) },
            _ => Change::Remove { node: anybody },
        };
        let (Change::Add { node, .. } | Change::Promote { node } | Change::Remove { node }) = change;
        self.administer(index, |request| Input::Change { request, change });
        self.record("membership", true, vec![history_node(node)]);
    }

    fn hand_over(&mut self) {
        let to = self.rng.random_range(1..=self.nodes.len() as u64);
        if let Some(index) = self.leader() {
            self.administer(index, |request| Input::Transfer { request, to });
            self.record("transfer", true, vec![history_node(self.nodes[index].id())]);
        }
    }

    fn bend_a_clock(&mut self) {
        let anybody = self.rng.random_range(0..self.nodes.len());
        // It is a leader's clock that a lease depends on.
        let (index, rates) = match self.leader() {
            Some(leader) if self.config.bent_clocks => (leader, BENT_PERCENT),
            _ => (anybody, STEADY_PERCENT),
        };
        let percent = self.rng.random_range(rates);
        self.nodes[index].set_clock_rate(percent, self.now);
        self.record("clock-rate", true, vec![history_node(self.nodes[index].id())]);
    }

    fn administer(&mut self, index: usize, ask: impl FnOnce(RequestId) -> Input) {
        self.on_node(index, |node, now, effects| node.administer(ask, now, effects));
    }

    /// Makes a voter of some node that is none, so that every node serves in the end.
    fn readmit(&mut self) {
        let Some(index) = self.leader() else { return };
        let members = self.nodes[index].raft().expect("it leads, so it is up").members();
        let learner = members.learners().first().copied();
        let missing = (1..=self.nodes.len() as u64).find(|node| !members.0.contains_key(node));
        let change = match (learner, missing) {
            (Some(node), _) => Change::Promote { node },
            (None, Some(node)) => Change::Add { node, member: member(Suffrage::Learner) },
            (None, None) => return,
        };
        self.administer(index, |request| Input::Change { request, change });
    }

    /// Ends all trouble.
    ///
    /// Members are brought back during the recovery that follows: each change takes some time to be committed.
    fn heal(&mut self) {
        self.network.set_weather(Weather::CALM);
        self.network.set_cuts(BTreeSet::new());
        for index in 0..self.nodes.len() {
            self.nodes[index].set_clock_rate(100, self.now);
            if self.nodes[index].is_paused() {
                self.resume(index);
            }
            if !self.nodes[index].is_up() {
                self.start(index);
            }
        }
        for fault in ["partition", "pause", "kill", "clock-rate", "membership", "transfer"] {
            self.end_all(fault);
        }
    }

    fn end_all(&mut self, fault: &'static str) {
        while let Some((_, nodes)) = self.open.iter().find(|(open, _)| *open == fault).cloned() {
            self.record(fault, false, nodes);
        }
    }

    fn record(&mut self, fault: &'static str, began: bool, nodes: Vec<NodeId>) {
        if began {
            self.open.push((fault, nodes.clone()));
        } else if let Some(ended) = self.open.iter().position(|open| *open == (fault, nodes.clone())) {
            self.open.remove(ended);
        }
        let phase = if began { FaultPhase::Inject } else { FaultPhase::Heal };
        let evidence = Evidence {
            source: "simulation".to_owned(),
            node: None,
            seen: "the simulated world was changed".to_owned(),
        };
        let receipt = Receipt { outcome: Outcome::Installed, evidence: vec![evidence] };
        let fault = fault.to_owned();
        self.scribe.record(self.now.tick, |time| Event::Fault { time, fault, phase, nodes, receipt });
    }
}
