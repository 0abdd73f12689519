//! A cluster to hurt: each node a small process of its own, the links between them in memory. A [`Flaw`] makes it
//! lie, as a mutant of the nemesis would.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Outcome, Receipt};
use nemesis::cluster::{Cluster, ClusterError, Failpoints, Links, Membership, Processes, Voice};
use nemesis::faults::hold::{Hold, Link};
use nemesis::faults::{self, Aim, FaultError};
use nemesis::knobs::Knobs;
use nemesis::net::{Arrival, Burst, LinkCounters, Rule, Sighting};
use nemesis::proc;
use nemesis::signals::{NodeSignals, Signals};
use nemesis::target::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the cluster says it does, and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    KillIgnored,
    StartIgnored,
    StopIgnored,
    ContinueIgnored,
    KillRefused,
    KillTooLate,
    /// The switch keeps the rule and forwards all the same.
    CutIgnored,
    /// As above, for packets to nodes with a higher number only.
    CutLeaksUpwards,
    /// While a probe is under way, the nodes' own packets pass on n3→n2.
    CutLeaksWhileProbed,
    /// The switch keeps the rule and goes on blocking.
    OpenIgnored,
    /// No datagram ever arrives.
    NetworkDead,
    /// No failpoint is ever reached.
    PointsMissed,
    /// Members stay as they are, whatever is asked.
    MembersFixed,
    /// Leadership stays where it is.
    TransferIgnored,
}

/// What nodes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Idle,
    Busy,
    /// This test binary again, which has a thread beside its main thread.
    Threaded,
}

impl Program {
    /// Each ends by itself if the test is killed and cannot clean up.
    fn command(self) -> Command {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let mut command = match self {
            Self::Idle => shell("exec sleep 60"),
            Self::Busy => shell("ulimit -t 20; while :; do :; done"),
            Self::Threaded => {
                let mut command = Command::new(env::current_exe().expect("a test knows its binary"));
                command.args(["--exact", "cluster::waits_if_it_is_a_node"]).env(IS_A_NODE, "1");
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

const IS_A_NODE: &str = "NEMESIS_TEST_IS_A_NODE";

/// What [`Program::Threaded`] runs: the test framework gives it a thread of its own. In an ordinary test run there
/// is nothing to do.
#[test]
fn waits_if_it_is_a_node() {
    if env::var_os(IS_A_NODE).is_some() {
        thread::sleep(Duration::from_secs(60));
    }
}

pub(crate) struct TestCluster {
    pub(crate) leader: Cell<Option<NodeId>>,
    /// Counts down at each look; at zero the leader becomes known.
    pub(crate) leader_after_looks: Cell<Option<(u32, NodeId)>>,
    /// Looks at its signals so far. At each, every node has answered one operation more.
    pub(crate) looks: Cell<u64>,
    pub(crate) flaw: Flaw,
    pub(crate) has_switch: bool,
    /// Whether the system has failpoints, and lets its members be changed.
    pub(crate) has_system: bool,
    pub(crate) members: BTreeMap<NodeId, Voice>,
    /// The nodes that died at a failpoint.
    at_point: BTreeMap<NodeId, String>,
    /// Nodes whose data was deleted.
    pub(crate) wiped: Vec<NodeId>,
    size: u16,
    program: Program,
    children: BTreeMap<NodeId, Child>,
    rules: BTreeMap<Link, Rule>,
    /// What the switch really does, which a flaw sets apart from the rules.
    blocked: BTreeMap<Link, bool>,
    counters: RefCell<BTreeMap<Link, LinkCounters>>,
}

impl TestCluster {
    pub(crate) fn new(size: u16) -> Self {
        Self::running(size, Program::Idle)
    }

    pub(crate) fn running(size: u16, program: Program) -> Self {
        let mut cluster = Self {
            leader: Cell::new(Some(NodeId(1))),
            leader_after_looks: Cell::new(None),
            looks: Cell::new(0),
            flaw: Flaw::None,
            has_switch: true,
            has_system: true,
            members: (1..=size).map(|node| (NodeId(node), Voice::Voter)).collect(),
            at_point: BTreeMap::new(),
            wiped: Vec::new(),
            size,
            program,
            children: BTreeMap::new(),
            rules: BTreeMap::new(),
            blocked: BTreeMap::new(),
            counters: RefCell::default(),
        };
        for node in cluster.nodes() {
            cluster.start(node).expect("a shell can be started");
        }
        cluster
    }

    pub(crate) fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = flaw;
        self
    }

    /// The nodes as the kernel sees them: `n1 up, n2 down, n3 paused`.
    pub(crate) fn states(&self) -> String {
        let state = |node: NodeId| {
            let stat = self.pid(node).and_then(|pid| proc::stat(pid).expect("/proc is readable"));
            match stat {
                None => "down",
                Some(stat) if stat.state == 'T' => "paused",
                Some(_) => "up",
            }
        };
        let states = self.nodes().into_iter().map(|node| format!("{node} {}", state(node)));
        states.collect::<Vec<_>>().join(", ")
    }

    /// The links whose rule is not the default: `n1→n2 n2→n1`.
    pub(crate) fn cuts(&self) -> String {
        let changed = self.rules.iter().filter(|(_, rule)| **rule != Rule::default());
        changed.map(|(link, _)| link.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// A packet of the nodes themselves.
    pub(crate) fn traffic(&self, link: Link) -> bool {
        let is_blocked = match self.flaw {
            Flaw::CutIgnored => false,
            Flaw::CutLeaksUpwards if link.from < link.to => false,
            Flaw::NetworkDead => true,
            _ => self.blocked.get(&link).copied().unwrap_or(false),
        };
        let mut counters = self.counters.borrow_mut();
        let counted = counters.entry(link).or_default();
        counted.seen += 1;
        if is_blocked {
            counted.blocked += 1;
        } else {
            counted.delivered += 1;
        }
        !is_blocked
    }

    /// A signal from somebody else.
    pub(crate) fn signal(&self, node: NodeId, signal: Signal) {
        kill(self.pid(node).expect("the node is up"), signal).expect("the signal is sent");
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            child.kill().expect("a child that was not reaped can be signalled");
            child.wait().expect("it is our child");
        }
    }
}

impl Cluster for TestCluster {
    fn nodes(&self) -> Vec<NodeId> {
        (1..=self.size).map(NodeId).collect()
    }

    fn leader(&self) -> Option<NodeId> {
        if let Some((looks, leader)) = self.leader_after_looks.get() {
            self.leader_after_looks.set(looks.checked_sub(1).map(|left| (left, leader)));
            self.leader.set((looks == 0).then_some(leader));
        }
        self.leader.get()
    }

    fn processes(&mut self) -> &mut dyn Processes {
        self
    }

    fn links(&mut self) -> Option<&mut dyn Links> {
        self.has_switch.then_some(self as &mut dyn Links)
    }

    fn failpoints(&mut self) -> Option<&mut dyn Failpoints> {
        self.has_system.then_some(self as &mut dyn Failpoints)
    }

    fn membership(&mut self) -> Option<&mut dyn Membership> {
        self.has_system.then_some(self as &mut dyn Membership)
    }

    fn signals(&self) -> Signals {
        self.looks.set(self.looks.get() + 1);
        let node = NodeSignals { acknowledged: self.looks.get(), ..NodeSignals::default() };
        let nodes = self.nodes().into_iter().map(|number| (number, node.clone())).collect();
        Signals { leader: self.leader(), nodes, ..Signals::default() }
    }
}

impl Processes for TestCluster {
    fn pid(&self, node: NodeId) -> Option<Pid> {
        self.children.get(&node).map(|child| Pid::from_raw(child.id().try_into().expect("pids fit")))
    }

    fn kill(&mut self, node: NodeId) -> Result<String, ClusterError> {
        match self.flaw {
            Flaw::KillIgnored => return Ok("signal 9 (SIGKILL)".to_owned()),
            Flaw::KillRefused => {
                let source = io::Error::from_raw_os_error(1);
                return Err(ClusterError::Os { action: "kill", node, source });
            }
            Flaw::KillTooLate => {
                self.flaw = Flaw::None;
                self.kill(node)?;
                return Err(ClusterError::Down(node));
            }
            _ => (),
        }
        let mut child = self.children.remove(&node).ok_or(ClusterError::Down(node))?;
        child.kill().expect("a child that was not reaped can be signalled");
        let status = child.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(9));
        Ok("signal 9 (SIGKILL)".to_owned())
    }

    fn start(&mut self, node: NodeId) -> Result<Pid, ClusterError> {
        if self.flaw == Flaw::StartIgnored {
            return Ok(Pid::this());
        }
        if self.children.contains_key(&node) {
            return Err(ClusterError::Up(node));
        }
        let child = self.program.command().spawn().expect("a shell can be started");
        self.children.insert(node, child);
        Ok(self.pid(node).expect("it was just started"))
    }

    fn pause(&mut self, node: NodeId) -> Result<(), ClusterError> {
        if self.flaw != Flaw::StopIgnored {
            self.signal(node, Signal::SIGSTOP);
        }
        Ok(())
    }

    fn resume(&mut self, node: NodeId) -> Result<(), ClusterError> {
        if self.flaw != Flaw::ContinueIgnored {
            self.signal(node, Signal::SIGCONT);
        }
        Ok(())
    }

    fn wipe(&mut self, node: NodeId) -> Result<(), ClusterError> {
        assert!(self.pid(node).is_none(), "{node} runs on what is wiped");
        self.wiped.push(node);
        Ok(())
    }
}

impl Failpoints for TestCluster {
    fn points(&self) -> &'static [&'static str] {
        &["before-sync", "after-sync"]
    }

    /// A point is reached at once, and the process ends by itself.
    fn arm(&mut self, node: NodeId, _point: &str, _nth: u64) -> Result<(), ClusterError> {
        if self.flaw != Flaw::PointsMissed {
            self.signal(node, Signal::SIGTERM);
            let mut child = self.children.remove(&node).expect("it was just signalled");
            let status = child.wait().expect("it is our child");
            self.at_point.insert(node, status.to_string());
        }
        Ok(())
    }

    fn disarm(&mut self, _node: NodeId) -> Result<(), ClusterError> {
        Ok(())
    }

    fn ended(&mut self, node: NodeId) -> Option<String> {
        self.at_point.remove(&node)
    }
}

impl Membership for TestCluster {
    fn members(&mut self, asked: NodeId) -> Result<BTreeMap<NodeId, Voice>, ClusterError> {
        self.pid(asked).map(|_| self.members.clone()).ok_or(ClusterError::Down(asked))
    }

    fn add(&mut self, node: NodeId) -> Result<(), ClusterError> {
        if self.flaw != Flaw::MembersFixed {
            self.members.insert(node, Voice::Learner);
        }
        Ok(())
    }

    fn promote(&mut self, node: NodeId) -> Result<(), ClusterError> {
        if self.pid(node).is_none() {
            let reason = "it has not caught up".to_owned();
            return Err(ClusterError::Refused { action: "promote", node, reason });
        }
        self.members.insert(node, Voice::Voter);
        Ok(())
    }

    fn remove(&mut self, node: NodeId) -> Result<(), ClusterError> {
        if self.flaw != Flaw::MembersFixed {
            self.members.remove(&node);
        }
        Ok(())
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), ClusterError> {
        if self.flaw != Flaw::TransferIgnored {
            self.leader.set(Some(to));
        }
        Ok(())
    }
}

impl Links for TestCluster {
    fn set(&mut self, link: Link, rule: Rule) {
        self.rules.insert(link, rule);
        if rule.block || self.flaw != Flaw::OpenIgnored {
            self.blocked.insert(link, rule.block);
        }
    }

    fn rule(&self, link: Link) -> Rule {
        self.rules.get(&link).copied().unwrap_or_default()
    }

    fn counters(&self, link: Link) -> LinkCounters {
        self.counters.borrow().get(&link).copied().unwrap_or_default()
    }

    fn probe(&self, link: Link, wait: Duration) -> Result<bool, ClusterError> {
        let arrived = self.traffic(link);
        if self.flaw == Flaw::CutLeaksWhileProbed {
            let leak = Link::new(NodeId(3), NodeId(2));
            self.counters.borrow_mut().entry(leak).or_default().delivered += 1;
        }
        if !arrived {
            thread::sleep(wait);
        }
        Ok(arrived)
    }

    /// These links know no weather: whatever is not blocked arrives, 1 µs after it was sent.
    fn burst(&self, links: &[Link], burst: &Burst) -> Result<Vec<Sighting>, ClusterError> {
        let sight = |&link: &Link| {
            let passed = (0..burst.count).filter(|_| self.traffic(link));
            let arrivals = passed.map(|sequence| {
                let sent = burst.gap * sequence;
                Arrival { sequence, sent, at: sent + Duration::from_micros(1) }
            });
            Sighting { sent: burst.count, bytes: burst.bytes, arrivals: arrivals.collect(), altered: 0 }
        };
        Ok(links.iter().map(sight).collect())
    }
}

/// Injects a fault by its name, into a hold of its own.
pub(crate) fn inject(
    cluster: &mut TestCluster,
    name: &str,
    targets: &[u16],
) -> (Result<Receipt, FaultError>, Hold) {
    inject_with(cluster, name, targets, &Knobs::default())
}

fn inject_with(
    cluster: &mut TestCluster,
    name: &str,
    targets: &[u16],
    knobs: &Knobs,
) -> (Result<Receipt, FaultError>, Hold) {
    let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
    let mut hold = Hold::default();
    let fault = faults::find(name).expect("tests name faults that exist");
    let mut rng = Rng::new(1, 1);
    let knobs = knobs.complete(fault.knobs(), &mut rng);
    let aim = Aim { targets: &targets, knobs: &knobs };
    (fault.inject(cluster, &aim, &mut rng, &mut hold), hold)
}

/// Injects a fault that must succeed in being tried.
pub(crate) fn injected(cluster: &mut TestCluster, name: &str, targets: &[u16]) -> (Receipt, Hold) {
    injected_with(cluster, name, targets, &Knobs::default())
}

/// The same with some of its settings.
pub(crate) fn injected_with(
    cluster: &mut TestCluster,
    name: &str,
    targets: &[u16],
    knobs: &Knobs,
) -> (Receipt, Hold) {
    let (result, hold) = inject_with(cluster, name, targets, knobs);
    (result.expect("the cluster does not refuse"), hold)
}

/// Heals a fault that nobody else overlaps.
pub(crate) fn healed(cluster: &mut TestCluster, name: &str, hold: &mut Hold) -> Receipt {
    healed_beside(cluster, name, hold, &Hold::default())
}

pub(crate) fn healed_beside(
    cluster: &mut TestCluster,
    name: &str,
    hold: &mut Hold,
    others: &Hold,
) -> Receipt {
    let fault = faults::find(name).expect("tests name faults that exist");
    fault.heal(cluster, hold, others).expect("the cluster does not refuse")
}

#[track_caller]
pub(crate) fn assert_outcome(receipt: &Receipt, outcome: Outcome, seen: &str) {
    let text = receipt
        .evidence
        .iter()
        .map(|evidence| format!("{} {}: {}\n", show(evidence.node), evidence.source, evidence.seen))
        .collect::<String>();
    assert_eq!(receipt.outcome, outcome, "\n{text}");
    assert!(text.contains(seen), "`{seen}` is not in\n{text}");
}

fn show(node: Option<NodeId>) -> String {
    node.map_or("-".to_owned(), |node| node.to_string())
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}
