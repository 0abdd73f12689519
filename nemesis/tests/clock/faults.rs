//! The faults on clocks: each bites, each heals, and one that does nothing is noticed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use checkers::history::{NodeId, Outcome, Receipt};
use nemesis::clock::probe::Probe;
use nemesis::clock::{Change, Child, Clock, Level, NodeClock};
use nemesis::cluster::{Clocks, Cluster, ClusterError, Links, Processes};
use nemesis::faults::hold::Hold;
use nemesis::faults::{self, Aim, FAULTS, FaultError, Needs};
use nemesis::knobs::Knobs;
use nemesis::proc::{self, Stat};
use nemesis::target::Rng;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{Case, eventually};
use crate::waiter;

pub(crate) const CASES: &[Case<()>] = &[
    ("every_fault_on_clocks_bites_and_heals", every_fault_on_clocks_bites_and_heals),
    ("receipts_tell_what_was_seen", receipts_tell_what_was_seen),
    ("an_inert_hook_is_indeterminate", an_inert_hook_is_indeterminate),
    ("a_bend_that_does_nothing_is_indeterminate", a_bend_that_does_nothing_is_indeterminate),
    ("a_heal_that_does_nothing_is_indeterminate", a_heal_that_does_nothing_is_indeterminate),
    ("a_fault_that_ended_early_is_noticed", a_fault_that_ended_early_is_noticed),
    ("only_the_targets_are_bent", only_the_targets_are_bent),
    ("a_clock_bent_by_another_fault_is_left_alone", a_clock_bent_by_another_fault_is_left_alone),
    ("a_kill_and_a_start_heal_nothing", a_kill_and_a_start_heal_nothing),
    ("pause_and_clock_faults_go_together", pause_and_clock_faults_go_together),
    ("the_final_heal_rights_every_clock", the_final_heal_rights_every_clock),
    ("without_clocks_the_fault_is_refused", without_clocks_the_fault_is_refused),
    ("the_death_of_the_harness_ends_what_it_traces", the_death_of_the_harness_ends_what_it_traces),
];

/// What the cluster says it does, and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    HookInert,
    BendIgnored,
    HealIgnored,
}

struct TestCluster {
    flaw: Flaw,
    clocks: BTreeMap<NodeId, NodeClock>,
    children: BTreeMap<NodeId, Child>,
}

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

impl TestCluster {
    fn new(flaw: Flaw) -> Self {
        let clocks = [N1, N2].map(|node| (node, NodeClock::new(Level::Waits).expect("a memfd can be made")));
        let mut cluster = Self { flaw, clocks: BTreeMap::from(clocks), children: BTreeMap::new() };
        for node in [N1, N2] {
            cluster.start(node).expect("it starts");
        }
        cluster
    }

    fn inject(&mut self, name: &str, node: NodeId, settings: &[(&str, &str)]) -> (Receipt, Hold) {
        let fault = faults::find(name).expect("tests name faults that exist");
        let mut asked = Knobs::default();
        for (knob, setting) in settings {
            asked.set(fault.knobs(), knob, setting).expect("a setting that there is");
        }
        let mut rng = Rng::new(1, 1);
        let knobs = asked.complete(fault.knobs(), &mut rng);
        let mut hold = Hold::default();
        let aim = Aim { targets: &[node], knobs: &knobs };
        let receipt = fault.inject(self, &aim, &mut rng, &mut hold).expect("the cluster does not refuse");
        (receipt, hold)
    }

    fn heal(&mut self, name: &str, hold: &mut Hold) -> Receipt {
        let fault = faults::find(name).expect("tests name faults that exist");
        fault.heal(self, hold, &Hold::default()).expect("the cluster does not refuse")
    }

    #[track_caller]
    fn assert_right(&self, node: NodeId) {
        let mut probe = Probe::start(&self.clocks[&node]).expect("hooked");
        let first = probe.read().expect("it lives");
        let (least, most) = first.of(Clock::Realtime).offset_ns();
        assert!((least..=most).contains(&0), "{least} to {most}");
        std::thread::sleep(Duration::from_millis(30));
        let second = probe.read().expect("it lives");
        let (least, most) = first.of(Clock::Monotonic).rate_percent(second.of(Clock::Monotonic));
        assert!(least <= 100.001 && most >= 99.999, "{least} to {most} %");
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            child.kill().expect("ours");
            child.wait().expect("ours");
        }
    }
}

impl Cluster for TestCluster {
    fn nodes(&self) -> Vec<NodeId> {
        vec![N1, N2]
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn processes(&mut self) -> &mut dyn Processes {
        self
    }

    fn links(&mut self) -> Option<&mut dyn Links> {
        None
    }

    fn clocks(&mut self) -> Option<&mut dyn Clocks> {
        if self.clocks.is_empty() { None } else { Some(self) }
    }
}

impl Processes for TestCluster {
    fn pid(&self, node: NodeId) -> Option<Pid> {
        self.children.get(&node).map(Child::pid)
    }

    fn kill(&mut self, node: NodeId) -> Result<String, ClusterError> {
        let mut child = self.children.remove(&node).ok_or(ClusterError::Down(node))?;
        child.kill().expect("ours");
        assert_eq!(child.wait().expect("ours").signal(), Some(9));
        Ok("signal 9 (SIGKILL)".to_owned())
    }

    fn start(&mut self, node: NodeId) -> Result<Pid, ClusterError> {
        if self.children.contains_key(&node) {
            return Err(ClusterError::Up(node));
        }
        let mut command = waiter::command("spin");
        command.stdout(Stdio::null()).stdin(Stdio::null());
        if std::env::var_os("CLOCK_TEST_SPINS").is_none() {
            command = waiter::command("read");
            command.stdout(Stdio::null()).stdin(Stdio::piped());
        }
        let child = match (self.flaw, self.clocks.get(&node)) {
            (Flaw::HookInert, _) | (_, None) => Child::plain(&mut command),
            (_, Some(clock)) => clock.spawn(command),
        };
        let child = child.expect("it starts");
        let pid = child.pid();
        self.children.insert(node, child);
        Ok(pid)
    }

    fn pause(&mut self, node: NodeId) -> Result<(), ClusterError> {
        self.children[&node].signal(Signal::SIGSTOP).expect("ours");
        Ok(())
    }

    fn resume(&mut self, node: NodeId) -> Result<(), ClusterError> {
        self.children[&node].signal(Signal::SIGCONT).expect("ours");
        Ok(())
    }
}

impl Clocks for TestCluster {
    fn bend(&mut self, node: NodeId, clock: Clock, change: Change) -> Result<(), ClusterError> {
        if self.flaw != Flaw::BendIgnored {
            self.clocks[&node].bend(clock, change).expect("bent");
        }
        Ok(())
    }

    fn restore(&mut self, node: NodeId, clock: Clock) -> Result<(), ClusterError> {
        if self.flaw != Flaw::HealIgnored {
            self.clocks[&node].restore(clock).expect("healed");
        }
        Ok(())
    }

    fn is_bent(&self, node: NodeId, clock: Clock) -> bool {
        self.clocks[&node].is_bent(clock)
    }

    fn probe(&self, node: NodeId) -> Result<Probe, ClusterError> {
        let probe = match self.flaw {
            Flaw::HookInert => Probe::start_plain(),
            Flaw::None | Flaw::BendIgnored | Flaw::HealIgnored => Probe::start(&self.clocks[&node]),
        };
        Ok(probe.expect("it starts"))
    }

    fn is_hooked(&self, node: NodeId) -> Result<bool, ClusterError> {
        Ok(self.clocks[&node].is_mapped_by(self.children[&node].pid()).expect("readable"))
    }
}

/// Every fault on clocks, on every clock that it can bend, with settings at both ends.
const ALL: &[(&str, &[(&str, &str)])] = &[
    ("clock-step", &[("clock", "realtime"), ("offset_ms", "-86400000")]),
    ("clock-step", &[("clock", "both"), ("offset_ms", "500")]),
    ("clock-rate", &[("clock", "realtime"), ("rate_percent", "50")]),
    ("clock-rate", &[("clock", "monotonic"), ("rate_percent", "1500")]),
    ("clock-rate", &[("clock", "both"), ("rate_percent", "10")]),
    ("clock-rate", &[("clock", "monotonic"), ("rate_percent", "110")]),
    ("clock-freeze", &[("clock", "both")]),
    ("clock-strobe", &[("offset_ms", "200"), ("period_ms", "10")]),
    ("clock-strobe", &[("offset_ms", "-5000"), ("period_ms", "100")]),
];

fn every_fault_on_clocks_bites_and_heals((): &()) {
    for fault in FAULTS.iter().filter(|fault| fault.needs() == Needs::Clocks) {
        assert!(ALL.iter().any(|(name, _)| *name == fault.name()), "{} is tried", fault.name());
    }
    let mut cluster = TestCluster::new(Flaw::None);
    for (name, settings) in ALL {
        let (receipt, mut hold) = cluster.inject(name, N1, settings);
        assert_outcome(&receipt, Outcome::Installed, "maps the control page");
        let receipt = cluster.heal(name, &mut hold);
        assert_outcome(&receipt, Outcome::Installed, "after the heal");
        assert!(hold.is_empty());
        cluster.assert_right(N1);
        cluster.heal(name, &mut hold);
    }
}

fn receipts_tell_what_was_seen((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    let rate = [("clock", "monotonic"), ("rate_percent", "1500")];
    let (receipt, mut hold) = cluster.inject("clock-rate", N1, &rate);
    assert_outcome(&receipt, Outcome::Installed, "n1 probe monotonic: runs at 1");
    assert_outcome(&receipt, Outcome::Installed, "n1 probe monotonic, a wait: 900.0ms took ");
    let receipt = cluster.heal("clock-rate", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "n1 probe monotonic: ran at 1");

    let (receipt, _) = cluster.inject("clock-freeze", N2, &[("clock", "both")]);
    assert_outcome(&receipt, Outcome::Installed, "n2 probe realtime: runs at 0.0 to 0.0 %");
    assert_outcome(&receipt, Outcome::Installed, "n2 probe monotonic, a wait: 15ms are not over after 150ms");
}

fn an_inert_hook_is_indeterminate((): &()) {
    let mut cluster = TestCluster::new(Flaw::HookInert);
    for (name, settings) in ALL {
        let (receipt, mut hold) = cluster.inject(name, N1, settings);
        assert_outcome(&receipt, Outcome::Indeterminate, "does not map the control page");
        cluster.heal(name, &mut hold);
    }
}

fn a_bend_that_does_nothing_is_indeterminate((): &()) {
    let mut cluster = TestCluster::new(Flaw::BendIgnored);
    for (name, settings) in ALL {
        let (receipt, mut hold) = cluster.inject(name, N1, settings);
        assert_outcome(&receipt, Outcome::Indeterminate, "maps the control page");
        cluster.heal(name, &mut hold);
    }
}

fn a_heal_that_does_nothing_is_indeterminate((): &()) {
    for (name, settings) in ALL {
        let mut cluster = TestCluster::new(Flaw::None);
        let (_, mut hold) = cluster.inject(name, N1, settings);
        cluster.flaw = Flaw::HealIgnored;
        // A monotonic clock keeps its offset in any case, so that after a step there is nothing to be seen.
        let is_kept = settings.contains(&("clock", "monotonic")) && *name == "clock-step";
        let outcome = if is_kept { Outcome::Installed } else { Outcome::Indeterminate };
        assert_outcome(&cluster.heal(name, &mut hold), outcome, "after the heal");
    }
}

fn a_fault_that_ended_early_is_noticed((): &()) {
    for (name, settings) in ALL {
        let mut cluster = TestCluster::new(Flaw::None);
        let (_, mut hold) = cluster.inject(name, N1, settings);
        for clock in Clock::ALL {
            cluster.clocks[&N1].restore(clock).expect("healed");
        }
        // Of a slight change of speed, the average over the whole time tells only if a part of it is missing.
        std::thread::sleep(Duration::from_millis(100));
        let is_kept = settings.contains(&("clock", "monotonic")) && *name == "clock-step";
        let outcome = if is_kept { Outcome::Installed } else { Outcome::Indeterminate };
        assert_outcome(&cluster.heal(name, &mut hold), outcome, "until the heal");
    }
}

fn only_the_targets_are_bent((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    let (_, _hold) = cluster.inject("clock-freeze", N1, &[("clock", "both")]);
    cluster.assert_right(N2);
}

fn a_clock_bent_by_another_fault_is_left_alone((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    let (_, mut first) = cluster.inject("clock-rate", N1, &[("clock", "realtime"), ("rate_percent", "50")]);
    let (receipt, second) = cluster.inject("clock-step", N1, &[("clock", "both"), ("offset_ms", "500")]);
    assert_outcome(&receipt, Outcome::Skipped, "n1 nemesis: its realtime clock is bent by another fault");
    assert!(second.is_empty());
    assert_outcome(&cluster.heal("clock-rate", &mut first), Outcome::Installed, "ran at ");
    cluster.assert_right(N1);
}

fn a_kill_and_a_start_heal_nothing((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    let rate = [("clock", "both"), ("rate_percent", "200")];
    let (_, mut clock) = cluster.inject("clock-rate", N1, &rate);
    let (_, mut kill) = cluster.inject("kill", N1, &[]);
    assert_outcome(&cluster.heal("kill", &mut kill), Outcome::Installed, "before: pid ");
    assert!(Clocks::is_hooked(&cluster, N1).expect("readable"), "the new process is hooked as well");
    assert_outcome(&cluster.heal("clock-rate", &mut clock), Outcome::Installed, "until the heal");
    cluster.assert_right(N1);
}

fn pause_and_clock_faults_go_together((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    for _ in 0..5 {
        let (receipt, mut pause) = cluster.inject("pause", N1, &[]);
        assert_outcome(&receipt, Outcome::Installed, "threads in state T");
        let rate = [("clock", "monotonic"), ("rate_percent", "200")];
        let (receipt, mut clock) = cluster.inject("clock-rate", N1, &rate);
        assert_outcome(&receipt, Outcome::Installed, "maps the control page");
        assert_outcome(&cluster.heal("clock-rate", &mut clock), Outcome::Installed, "after the heal");
        let receipt = cluster.heal("pause", &mut pause);
        assert_outcome(&receipt, Outcome::Installed, "0 ticks of processor time while paused");
    }
}

fn the_final_heal_rights_every_clock((): &()) {
    let mut cluster = TestCluster::new(Flaw::None);
    // As after a crash of the nemesis: nobody has a hold.
    let (_, _lost) = cluster.inject("clock-strobe", N1, &[]);
    let (_, _lost) = cluster.inject("clock-freeze", N2, &[("clock", "both")]);
    let receipt = faults::heal::everything(&mut cluster).expect("the cluster does not refuse");
    assert_outcome(&receipt, Outcome::Installed, "n2 probe monotonic: runs at ");
    cluster.assert_right(N1);
    cluster.assert_right(N2);
}

fn without_clocks_the_fault_is_refused((): &()) {
    let mut cluster = TestCluster { flaw: Flaw::None, clocks: BTreeMap::new(), children: BTreeMap::new() };
    cluster.start(N1).expect("it starts");
    for fault in FAULTS.iter().filter(|fault| fault.needs() == Needs::Clocks) {
        assert!(!fault.needs().are_met_by(&mut cluster));
        let knobs = Knobs::default().complete(fault.knobs(), &mut Rng::new(1, 1));
        let aim = Aim { targets: &[N1], knobs: &knobs };
        let refused = fault.inject(&mut cluster, &aim, &mut Rng::new(1, 1), &mut Hold::default());
        assert!(matches!(refused, Err(FaultError::NoClocks)), "{refused:?}");
    }
}

/// A harness that will be killed.
pub(crate) const DOOMED: &str = "doomed";

pub(crate) fn doomed() -> ExitCode {
    let cluster = TestCluster::new(Flaw::None);
    for child in cluster.children.values() {
        println!("{}", child.pid());
    }
    println!("up");
    std::io::stdout().flush().expect("somebody listens");
    std::thread::sleep(Duration::from_secs(60));
    ExitCode::SUCCESS
}

fn the_death_of_the_harness_ends_what_it_traces((): &()) {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    // Its nodes must not end because their input does.
    command.arg(DOOMED).env("CLOCK_TEST_SPINS", "1").stdout(Stdio::piped());
    let mut harness = command.spawn().expect("it starts");
    let lines = BufReader::new(harness.stdout.take().expect("a pipe")).lines();
    let lines = lines.map(|line| line.expect("text")).take_while(|line| line != "up");
    let pids = lines.map(|line| Pid::from_raw(line.parse().expect("a pid"))).collect::<Vec<_>>();
    assert_eq!(pids.len(), 2);
    let lives = |&pid: &Pid| proc::stat(pid).expect("readable").is_some_and(Stat::is_alive);
    assert!(pids.iter().all(lives));
    harness.kill().expect("ours");
    harness.wait().expect("ours");
    eventually("the kernel kills them", Duration::from_secs(10), || !pids.iter().any(lives));
}

#[track_caller]
fn assert_outcome(receipt: &Receipt, outcome: Outcome, seen: &str) {
    let show = |node: Option<NodeId>| node.map_or("-".to_owned(), |node| node.to_string());
    let text = receipt
        .evidence
        .iter()
        .map(|evidence| format!("{} {}: {}\n", show(evidence.node), evidence.source, evidence.seen))
        .collect::<String>();
    assert_eq!(receipt.outcome, outcome, "\n{text}");
    assert!(text.contains(seen), "`{seen}` is not in\n{text}");
}
