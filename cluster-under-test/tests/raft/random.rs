//! Random schedules: loss, repetition, reordering, cuts, crashes and slow disks, judged after every step.
//!
//! The paper's rules keep every promise on every seed and make progress when the trouble is over. The same
//! schedules break a cluster with a planted bug, which shows that they go where it hurts.

use cluster_under_test::bugs;
use cluster_under_test::raft::{Change, Config, Input, Member, NodeId, Output, Role, Suffrage};
use cluster_under_test::rules::{Paper, Rules};
use cluster_under_test::trace::{SnapshotOrigin, TraceEvent, TransferPhase};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;

use crate::network::{Event, Network};

/// Schedules of the paper's rules.
const SEEDS: u64 = 3_000;
/// Choices in one schedule.
const STEPS: usize = 1_200;
/// Messages under way; more are lost, the oldest first.
const IN_FLIGHT_MAX: usize = 60;
/// Ticks within which a cluster without trouble serves again: a few elections, one of them perhaps split.
const RECOVERY_TICKS: usize = 300;
/// More than a transfer takes.
const ASK_AGAIN_TICKS: usize = 30;
/// Schedules within which a bug must show. The rarest of those tested needs about a third of them.
const BUG_SEEDS: u64 = 3_000;

struct Schedule {
    network: Network,
    rng: Pcg32,
    commands: usize,
    /// Whether members come and go.
    changes: bool,
}

impl Schedule {
    fn new(seed: u64, rules: &'static dyn Rules) -> Self {
        let mut rng = Pcg32::seed_from_u64(seed);
        let mut draw = |choices: u64| u64::from(rng.next_u32()) % choices;
        let nodes = [3, 3, 4, 5][draw(4) as usize];
        let changes = draw(3) == 0;
        let founders = if changes { nodes - draw(2) } else { nodes };
        let config = Config {
            id: 1,
            voters: (1..=founders).collect(),
            joins: false,
            // Ticks come as chance has it here, so that clocks agree on nothing.
            lease_ms: None,
            heartbeat_ticks: 2,
            election_ticks: 10,
            pre_vote: draw(2) == 0,
            check_quorum: draw(2) == 0,
            append_entries_max: 1 + draw(4) as usize,
            pipeline_max: 1 + draw(3) as usize,
            snapshot_chunk_bytes: [2, 20, 1_000][draw(3) as usize],
            entries_kept: draw(4),
            seed,
        };
        Self { network: Network::new(config, nodes - founders, rules), rng, commands: 0, changes }
    }

    fn draw(&mut self, choices: usize) -> usize {
        self.rng.next_u32() as usize % choices
    }

    fn node(&mut self) -> NodeId {
        self.draw(self.network.nodes.len()) as NodeId + 1
    }

    /// One choice of what happens next.
    fn step(&mut self) {
        let id = self.node();
        match self.draw(1_000) {
            0..550 => self.deliver_one(),
            550..800 => self.network.step(id, Input::Tick),
            800..860 => {
                self.commands += 1;
                self.network.propose_if_up(id, &format!("c{}", self.commands));
            }
            860..900 => self.network.read_if_up(id),
            900..950 => {
                let count = 1 + self.draw(3);
                self.network.persist(id, count);
            }
            950..956 => self.network.crash(id),
            956..966 => self.network.restart_if_down(id),
            966..974 => {
                let other = self.node();
                self.network.cuts.insert((id, other));
            }
            974..978 => self.network.isolate(id),
            978..984 => self.network.cuts.clear(),
            984..992 => self.network.take_snapshot(id),
            992..994 => {
                let leads =
                    |id: &NodeId| self.network.raft(*id).is_some_and(|raft| raft.role() == Role::Leader);
                let leader = self.network.nodes.keys().copied().find(leads);
                if let Some(leader) = leader {
                    let to = self.node();
                    self.network.transfer(leader, to);
                }
            }
            994..997 if self.changes => {
                let change = self.change();
                self.network.change(id, "a change", change);
            }
            _ => {
                let slow = self.draw(2) == 0;
                self.network.set_slow_disk(id, slow);
            }
        }
        let excess = self.network.in_flight.len().saturating_sub(IN_FLIGHT_MAX);
        self.network.in_flight.drain(..excess);
        self.network.late.truncate(IN_FLIGHT_MAX);
    }

    fn change(&mut self) -> Change {
        let node = self.node();
        match self.draw(4) {
            0 => Change::Add { node, member: member(Suffrage::Voter) },
            1 => Change::Add { node, member: member(Suffrage::Learner) },
            2 => Change::Promote { node },
            _ => Change::Remove { node },
        }
    }

    /// Any message in flight, so that they overtake each other; some are lost, some come again.
    fn deliver_one(&mut self) {
        if !self.network.late.is_empty() && self.draw(20) == 0 {
            let position = self.draw(self.network.late.len());
            let envelope = self.network.late.swap_remove(position);
            self.network.deliver(envelope);
        }
        if self.network.in_flight.is_empty() {
            return;
        }
        // Mostly the oldest: links keep their order more often than not.
        let position = if self.draw(3) == 0 { self.draw(self.network.in_flight.len()) } else { 0 };
        let envelope = self.network.in_flight.remove(position);
        match self.draw(20) {
            0 => return,
            1 | 2 if Network::may_repeat(&envelope) => self.network.late.push(envelope.clone()),
            _ => {}
        }
        self.network.deliver(envelope);
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            self.step();
            if step % 8 == 0 {
                self.network.judge.compare_logs(self.network.nodes.values());
            }
        }
    }

    /// Ends all trouble, and says whether the cluster then agrees on a last command.
    fn recover(&mut self) -> bool {
        let ids: Vec<_> = self.network.nodes.keys().copied().collect();
        self.network.cuts.clear();
        for &id in &ids {
            self.network.set_slow_disk(id, false);
            self.network.restart_if_down(id);
        }
        let mut asked_in = 0;
        for tick in 0..RECOVERY_TICKS {
            for &id in &ids {
                self.network.step(id, Input::Tick);
            }
            // A few rounds of delivery a tick, as on a network that is faster than the timeouts.
            for _ in 0..4 {
                for envelope in std::mem::take(&mut self.network.in_flight) {
                    self.network.deliver(envelope);
                }
            }
            // A leader of the past may lose the command, and one that hands over refuses it: it is asked for again.
            let leads = |id: &NodeId| self.network.raft(*id).is_some_and(|raft| raft.role() == Role::Leader);
            if let Some(leader) = ids.iter().copied().find(leads) {
                let term = self.network.raft(leader).expect("it leads, so it is up").term();
                if term > asked_in || tick % ASK_AGAIN_TICKS == 0 {
                    self.network.propose(leader, "last");
                    asked_in = term;
                }
            }
            self.readmit(&ids);
            let state = &self.network.nodes[&1].state;
            let agreed = self.network.nodes.values().all(|node| node.state == *state);
            if agreed && state.last().is_some_and(|command| command == "last") {
                let state = state.clone();
                self.network.judge.nothing_is_lost(&state);
                return true;
            }
        }
        false
    }

    /// Makes a voter of some node that is none.
    fn readmit(&mut self, ids: &[NodeId]) {
        let leads = |id: &NodeId| self.network.raft(*id).is_some_and(|raft| raft.role() == Role::Leader);
        let Some(leader) = ids.iter().copied().find(leads) else { return };
        let members = self.network.raft(leader).expect("it leads, so it is up").members();
        let missing = ids.iter().copied().find(|node| !members.0.contains_key(node));
        let change = match (missing, members.learners().first()) {
            (_, Some(&node)) => Change::Promote { node },
            (Some(node), None) => Change::Add { node, member: member(Suffrage::Learner) },
            (None, None) => return,
        };
        self.network.change(leader, "a change", change);
    }

    fn anomalies(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.network.events);
        let told = events.into_iter().filter_map(|event| match event {
            Event::Anomaly(what) => Some(what),
            Event::Output { .. } | Event::Answer { .. } | Event::Lost(_) => None,
        });
        told.chain(self.network.judge.take_anomalies()).collect()
    }
}

fn member(suffrage: Suffrage) -> Member {
    Member { suffrage, address: String::new() }
}

#[test]
fn the_papers_rules_keep_every_promise() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let mut schedule = Schedule::new(seed, &Paper);
        schedule.run();
        let recovered = schedule.recover();
        seen.look(&schedule);
        let anomalies = schedule.anomalies();
        assert!(anomalies.is_empty(), "seed {seed}: {anomalies:#?}");
        assert!(recovered, "seed {seed}: no agreement after the trouble\n{}", schedule.network.describe());
    }
    // Schedules in which nothing happens would keep every promise too.
    let Seen { commands, leaders, reads, installed, changes, transfers } = seen;
    assert!(changes > SEEDS / 2, "only {changes} changes of members were committed");
    assert!(transfers > SEEDS / 10, "only {transfers} leaders handed over");
    assert!(commands > 5 * SEEDS, "only {commands} commands were committed");
    assert!(leaders > 2 * SEEDS, "only {leaders} elections were won");
    assert!(reads > 5 * SEEDS, "only {reads} reads were served");
    assert!(installed > SEEDS / 10, "only {installed} snapshots were installed");
}

/// What happened in the schedules.
#[derive(Debug, Default)]
struct Seen {
    commands: u64,
    leaders: u64,
    reads: u64,
    installed: u64,
    changes: u64,
    transfers: u64,
}

impl Seen {
    fn look(&mut self, schedule: &Schedule) {
        self.commands += schedule.network.nodes[&1].state.len() as u64;
        self.leaders += schedule.network.judge.leaders_seen() as u64;
        for event in &schedule.network.events {
            let Event::Output { output, .. } = event else { continue };
            let installs = |event: &TraceEvent| {
                matches!(event, TraceEvent::Snapshot { origin: SnapshotOrigin::Installed, .. })
            };
            match output {
                Output::ReadReady { .. } => self.reads += 1,
                Output::Trace(event) if installs(event) => self.installed += 1,
                Output::Trace(TraceEvent::MembersCommitted { .. }) => self.changes += 1,
                Output::Trace(TraceEvent::Transfer { phase: TransferPhase::Done, .. }) => self.transfers += 1,
                _ => {}
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    let outputs = |seed| {
        let mut schedule = Schedule::new(seed, &Paper);
        schedule.run();
        format!("{:?}", schedule.network.events)
    };
    assert_eq!(outputs(7), outputs(7));
    assert_ne!(outputs(7), outputs(8));
}

/// Bugs that random schedules bring out, and what they break there. The others need a story of their own.
const FOUND_AT_RANDOM: &[(&str, &str)] = &[
    ("stale-read", "linearizable"),
    ("forget-vote", "durable-votes"),
    ("ack-before-commit", "linearizable"),
    ("half-quorum", "election-safety"),
    ("skip-prev-log-check", "log-matching"),
    ("commit-past-match", "state-machine-safety"),
    ("short-log-vote", "leader-completeness"),
    ("double-count-votes", "election-safety"),
    ("truncate-always", "leader-completeness"),
    ("no-noop", "linearizable"),
    ("read-before-commit", "linearizable"),
    ("serve-before-applied", "linearizable"),
    ("ack-last-index", "recovery"),
    ("ack-before-sync", "linearizable"),
    ("unsorted-quorum", "linearizable"),
];

#[test]
fn planted_bugs_break_what_they_say() {
    for (name, kind) in FOUND_AT_RANDOM {
        let bug = bugs::find(name).expect("it is one of the bugs");
        assert!(bug.breaks.contains(kind), "{name} does not say that it breaks {kind}");
        let breaks = |&seed: &u64| {
            let mut schedule = Schedule::new(seed, bug.rules);
            schedule.run();
            let recovered = schedule.recover();
            schedule.network.judge.kinds.contains(kind) || (*kind == "recovery" && !recovered)
        };
        assert!((0..BUG_SEEDS).any(|seed| breaks(&seed)), "{name} breaks no {kind} in {BUG_SEEDS} schedules");
    }
}

/// A bug that no test can show is not known to be one.
#[test]
fn every_bug_is_shown_at_random_or_in_a_story() {
    let stories: String = std::fs::read_dir("tests/stories")
        .expect("the stories are there")
        .map(|file| {
            std::fs::read_to_string(file.expect("the directory can be read").path()).expect("a story is text")
        })
        .collect();
    for bug in bugs::BUGS {
        let at_random = FOUND_AT_RANDOM.iter().any(|(name, _)| *name == bug.name);
        let in_a_story = stories.contains(&format!("bug={}\n", bug.name));
        // State machine and storage are the shell's, and so are bugs in them.
        let in_the_shell = ["clock-in-apply", "no-fsync"].contains(&bug.name);
        assert!(at_random || in_a_story || in_the_shell, "{} is shown nowhere", bug.name);
    }
}
