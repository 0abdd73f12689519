//! Faults on disks, on real processes that write to mounted disks.
//!
//! Each is injected and healed once as it should be, and once on a disk that lies: a fault that did nothing, or a heal that
//! left something behind, must not count as done.

mod disk_support;
mod net_support;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use checkers::history::{NodeId, Outcome, Receipt};
use disk_support::{Mounted, program};
use nemesis::cluster::{Cluster, ClusterError, Disks, Links, Processes};
use nemesis::disk::{
    Action, Counts, FaultyDisk, Losses, Mode, Operation, Pattern, Probe, Rule, RuleId, Seen, Unsynced,
    self_test,
};
use nemesis::faults::hold::Hold;
use nemesis::faults::{self, Aim, FAULTS, FaultError, Needs, heal};
use nemesis::net::{Request, Sandbox, enter};
use nemesis::proc;
use nemesis::target::Rng;
use net_support::{Case, eventually};
use nix::unistd::Pid;

const CASES: &[Case<Sandbox>] = &[
    ("a_power_loss_takes_what_was_never_synced", a_power_loss_takes_what_was_never_synced),
    (
        "a_power_loss_of_what_was_synced_is_a_kill_and_says_so",
        a_power_loss_of_what_was_synced_is_a_kill_and_says_so,
    ),
    (
        "a_power_loss_that_keeps_everything_is_indeterminate",
        a_power_loss_that_keeps_everything_is_indeterminate,
    ),
    ("a_power_loss_that_takes_too_much_is_indeterminate", a_power_loss_that_takes_too_much_is_indeterminate),
    ("a_power_loss_reaches_a_node_that_is_down", a_power_loss_reaches_a_node_that_is_down),
    ("a_torn_write_hits_the_middle_of_a_sync", a_torn_write_hits_the_middle_of_a_sync),
    (
        "a_crash_comes_before_the_operation_that_was_asked_for",
        a_crash_comes_before_the_operation_that_was_asked_for,
    ),
    ("a_crash_before_what_never_comes_is_skipped", a_crash_before_what_never_comes_is_skipped),
    (
        "a_node_that_stops_on_an_error_is_started_by_the_heal",
        a_node_that_stops_on_an_error_is_started_by_the_heal,
    ),
    ("every_rule_is_seen_in_force_and_gone", every_rule_is_seen_in_force_and_gone),
    ("a_rule_that_is_not_armed_is_indeterminate", a_rule_that_is_not_armed_is_indeterminate),
    (
        "a_rule_that_stays_is_indeterminate_and_the_final_heal_mends_it",
        a_rule_that_stays_is_indeterminate_and_the_final_heal_mends_it,
    ),
    ("a_disk_stays_hurt_for_the_other_fault", a_disk_stays_hurt_for_the_other_fault),
    ("a_node_in_a_slow_sync_is_killed_at_once", a_node_in_a_slow_sync_is_killed_at_once),
    ("lost_writes_are_gone_after_the_power_loss", lost_writes_are_gone_after_the_power_loss),
    ("a_turned_bit_is_turned_back", a_turned_bit_is_turned_back),
    ("a_bit_that_does_not_turn_is_indeterminate", a_bit_that_does_not_turn_is_indeterminate),
    ("faults_on_disks_need_disks", faults_on_disks_need_disks),
];

fn main() {
    if disk_support::role().is_some() {
        std::process::exit(disk_support::play());
    }
    net_support::require_tier();
    if let Err(reason) = self_test() {
        println!("skipped: {reason}; {}", reason.help);
        std::process::exit(if std::env::var_os("CI").is_some_and(|value| value == "true") { 101 } else { 0 });
    }
    let request = Request { tun: net_support::tun(), host_listeners: Vec::new() };
    let sandbox = enter(&request).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    net_support::run(CASES, &sandbox)
}

/// What a disk says it does, and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The power goes and nothing is lost.
    PowerKept,
    /// The power goes and takes more than it says.
    PowerTakesMore,
    ArmIgnored,
    DisarmIgnored,
    FlipIgnored,
}

struct Lying {
    mounted: Mounted,
    flaw: Flaw,
}

impl FaultyDisk for Lying {
    fn arm(&self, rule: Rule) -> RuleId {
        let id = self.mounted.disk.arm(rule);
        if self.flaw == Flaw::ArmIgnored {
            self.mounted.disk.disarm(id);
        }
        id
    }
    fn disarm(&self, id: RuleId) -> u64 {
        if self.flaw == Flaw::DisarmIgnored { self.hits(id) } else { self.mounted.disk.disarm(id) }
    }
    fn disarm_all(&self) -> usize {
        self.mounted.disk.disarm_all()
    }
    fn hits(&self, id: RuleId) -> u64 {
        self.mounted.disk.hits(id)
    }
    fn counts(&self) -> Counts {
        self.mounted.disk.counts()
    }
    fn unsynced(&self, mode: Mode) -> Losses {
        self.mounted.disk.unsynced(mode)
    }
    fn lose_power(&self, mode: Mode, unsynced: Unsynced, rng: &mut Rng) -> Losses {
        match self.flaw {
            Flaw::PowerKept => self.unsynced(mode),
            Flaw::PowerTakesMore => {
                let losses = self.unsynced(Mode::Ext4);
                self.mounted.disk.lose_power(Mode::Strict, unsynced, rng);
                losses
            }
            _ => self.mounted.disk.lose_power(mode, unsynced, rng),
        }
    }
    fn flip(&self, path: &str, offset: u64, bit: u8) -> Option<u8> {
        if self.flaw == Flaw::FlipIgnored {
            return self.byte(path, offset).ok();
        }
        self.mounted.disk.flip(path, offset, bit)
    }
    fn files(&self) -> BTreeMap<String, u64> {
        self.mounted.disk.files()
    }
    fn look(&self, paths: &[String]) -> io::Result<Vec<Option<Seen>>> {
        self.mounted.disk.look(paths)
    }
    fn byte(&self, path: &str, offset: u64) -> io::Result<u8> {
        self.mounted.disk.byte(path, offset)
    }
    fn probe(&self, pattern: &Pattern, delay: Duration) -> io::Result<Probe> {
        self.mounted.disk.probe(pattern, delay)
    }
    fn wait_until_frozen(&self, limit: Duration) -> Option<(Operation, String)> {
        self.mounted.disk.wait_until_frozen(limit)
    }
    fn thaw(&self) {
        self.mounted.disk.thaw();
    }
    fn abandon(&self) {
        self.mounted.disk.abandon();
    }
}

/// Nodes that append to a log on a disk of their own.
struct TestCluster {
    script: &'static str,
    disks: BTreeMap<NodeId, Arc<Lying>>,
    children: BTreeMap<NodeId, Child>,
    has_disks: bool,
}

const SYNCS: &str = "sync .; serve log";
const NEVER_SYNCS: &str = "sync .; serve log unsynced";

impl TestCluster {
    fn new(size: u16, script: &'static str, flaw: Flaw) -> Self {
        let disks = (1..=size).map(|node| (NodeId(node), Arc::new(Lying { mounted: Mounted::new(), flaw })));
        let mut cluster = Self { script, disks: disks.collect(), children: BTreeMap::new(), has_disks: true };
        for node in cluster.nodes() {
            cluster.start(node).expect("a test can start its own binary");
        }
        cluster.all_write();
        cluster
    }

    /// Waits until every node has written something since.
    fn all_write(&self) {
        for (&node, disk) in &self.disks {
            let before = disk.counts().writes;
            eventually(&format!("a write of {node}"), Duration::from_secs(10), || {
                disk.counts().writes > before + 1
            });
        }
    }

    fn inject(&mut self, text: &str, targets: &[u16]) -> (Result<Receipt, FaultError>, Hold) {
        let choice = faults::selection::parse(text).expect("tests name faults that exist").remove(0);
        let fault = faults::find(&choice.fault).expect("it was just found");
        let targets = targets.iter().copied().map(NodeId).collect::<Vec<_>>();
        let (mut hold, mut rng) = (Hold::default(), Rng::new(1, 1));
        let knobs = choice.knobs.complete(fault.knobs(), &mut rng);
        (fault.inject(self, &Aim { targets: &targets, knobs: &knobs }, &mut rng, &mut hold), hold)
    }

    #[track_caller]
    fn injected(&mut self, text: &str, targets: &[u16]) -> (Receipt, Hold) {
        let (result, hold) = self.inject(text, targets);
        (result.expect("the cluster does not refuse"), hold)
    }

    #[track_caller]
    fn healed(&mut self, name: &str, hold: &mut Hold) -> Receipt {
        let fault = faults::find(name).expect("tests name faults that exist");
        fault.heal(self, hold, &Hold::default()).expect("the cluster does not refuse")
    }

    fn log_bytes(&self, node: u16) -> u64 {
        self.disks[&NodeId(node)].files().get("data/log").copied().unwrap_or(0)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in self.nodes() {
            let _ = self.kill(node);
        }
    }
}

impl Cluster for TestCluster {
    fn nodes(&self) -> Vec<NodeId> {
        self.disks.keys().copied().collect()
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
    fn disks(&mut self) -> Option<&mut dyn Disks> {
        self.has_disks.then_some(self as &mut dyn Disks)
    }
}

impl Disks for TestCluster {
    fn disk(&self, node: NodeId) -> Arc<dyn FaultyDisk> {
        Arc::clone(&self.disks[&node]) as Arc<dyn FaultyDisk>
    }
}

impl Processes for TestCluster {
    fn pid(&self, node: NodeId) -> Option<Pid> {
        self.children.get(&node).map(|child| Pid::from_raw(child.id().try_into().expect("pids fit")))
    }
    fn kill(&mut self, node: NodeId) -> Result<String, ClusterError> {
        let mut child = self.children.remove(&node).ok_or(ClusterError::Down(node))?;
        child.kill().expect("a child that was not reaped can be signalled");
        loop {
            self.disks[&node].abandon();
            if let Some(status) = child.try_wait().expect("it is our child") {
                return Ok(status.signal().map_or("exited".to_owned(), |number| {
                    assert_eq!(number, 9);
                    "signal 9 (SIGKILL)".to_owned()
                }));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    fn start(&mut self, node: NodeId) -> Result<Pid, ClusterError> {
        if let Some(child) = self.children.get_mut(&node)
            && child.try_wait().expect("it is our child").is_none()
        {
            return Err(ClusterError::Up(node));
        }
        let mut command = program(&self.disks[&node].mounted.disk.data(), self.script);
        let child = command.stdout(Stdio::null()).spawn().expect("a test can start its own binary");
        self.children.insert(node, child);
        Ok(self.pid(node).expect("it was just started"))
    }
    fn pause(&mut self, _: NodeId) -> Result<(), ClusterError> {
        unreachable!("faults on disks pause nobody")
    }
    fn resume(&mut self, node: NodeId) -> Result<(), ClusterError> {
        nix::sys::signal::kill(self.pid(node).expect("it is up"), nix::sys::signal::Signal::SIGCONT)
            .expect("the signal is sent");
        Ok(())
    }
}

#[track_caller]
fn assert_outcome(receipt: &Receipt, outcome: Outcome, seen: &str) {
    let line = |evidence: &checkers::history::Evidence| {
        let node = evidence.node.map_or("-".to_owned(), |node| node.to_string());
        format!("{node} {}: {}\n", evidence.source, evidence.seen)
    };
    let text = receipt.evidence.iter().map(line).collect::<String>();
    assert_eq!(receipt.outcome, outcome, "\n{text}");
    assert!(text.contains(seen), "`{seen}` is not in\n{text}");
}

fn a_power_loss_takes_what_was_never_synced(_: &Sandbox) {
    let mut cluster = TestCluster::new(3, NEVER_SYNCS, Flaw::None);
    let before = cluster.pid(NodeId(2)).expect("n2 is up");
    let (receipt, mut hold) = cluster.injected("power-loss:mode=ext4", &[1, 2]);
    assert_outcome(&receipt, Outcome::Installed, "n1 files through the mount: data/log: ");
    assert_outcome(&receipt, Outcome::Installed, " bytes → absent");
    assert_outcome(&receipt, Outcome::Installed, "n2 disk journal: data/log: ");
    assert_outcome(&receipt, Outcome::Installed, &format!("n2 /proc/{before}/stat: gone"));
    assert_eq!((cluster.log_bytes(1), cluster.log_bytes(2)), (0, 0));
    assert!(cluster.log_bytes(3) > 0, "n3 was no target");
    let receipt = cluster.healed("power-loss", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, &format!("before: pid {before}, tick "));
    assert!(hold.is_empty());
    cluster.all_write();
}

fn a_power_loss_of_what_was_synced_is_a_kill_and_says_so(_: &Sandbox) {
    // The node has nothing unsynced while it does nothing.
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    let disk = Arc::clone(&cluster.disks[&NodeId(1)]);
    // Held before its next write, it has synced the last one.
    let freeze = Rule {
        operations: vec![Operation::Write],
        path: Pattern::new("*"),
        skip: 0,
        times: Some(1),
        percent: 100,
        action: Action::Freeze,
        seed: 0,
    };
    disk.arm(freeze);
    assert!(disk.wait_until_frozen(Duration::from_secs(10)).is_some());
    let (receipt, _) = cluster.injected("power-loss:mode=ext4", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "n1 disk journal: nothing was unsynced");
    assert_outcome(&receipt, Outcome::Installed, "it took no more than a kill");
    assert_outcome(&receipt, Outcome::Installed, "none changed");
}

fn a_power_loss_that_keeps_everything_is_indeterminate(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, NEVER_SYNCS, Flaw::PowerKept);
    let (receipt, _) = cluster.injected("power-loss:mode=ext4", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "n1 files through the mount: 1 files, none changed");
}

fn a_power_loss_that_takes_too_much_is_indeterminate(_: &Sandbox) {
    // The name of the log is durable under ext4, by its own sync, and is not in strict mode.
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::PowerTakesMore);
    let (receipt, _) = cluster.injected("power-loss:mode=ext4", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "bytes → absent");
}

fn a_power_loss_reaches_a_node_that_is_down(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, NEVER_SYNCS, Flaw::None);
    cluster.kill(NodeId(1)).expect("it is up");
    assert!(cluster.log_bytes(1) > 0, "a kill loses nothing");
    let (receipt, hold) = cluster.injected("power-loss", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "n1 processes: down already");
    assert_eq!(cluster.log_bytes(1), 0);
    assert!(hold.is_empty(), "whoever killed it starts it");
}

fn a_torn_write_hits_the_middle_of_a_sync(_: &Sandbox) {
    for (survive_percent, outcome) in [(0, "0 → 0"), (100, "same")] {
        let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
        let text = format!("torn-write:mode=ext4:nth=1:survive_percent={survive_percent}:unit=sector");
        let (receipt, mut hold) = cluster.injected(&text, &[1]);
        assert_outcome(&receipt, Outcome::Installed, "n1 disk: stopped before fsync of log");
        assert_outcome(&receipt, Outcome::Installed, "n1 disk journal: data/log: 1 unsynced pages lost");
        let bytes = cluster.log_bytes(1);
        assert_eq!(bytes % 16, 0, "records are whole, as sectors hold whole ones: {outcome}");
        cluster.healed("torn-write", &mut hold);
        cluster.all_write();
    }
}

fn a_crash_comes_before_the_operation_that_was_asked_for(_: &Sandbox) {
    let mut cluster = TestCluster::new(2, SYNCS, Flaw::None);
    let text = "disk-crash:operation=write:path=lo?:nth=3:unsynced=lost:mode=ext4";
    let (receipt, mut hold) = cluster.injected(text, &[1]);
    assert_outcome(&receipt, Outcome::Installed, "n1 disk: stopped before write of log");
    assert_outcome(&receipt, Outcome::Installed, "n1 waitid: signal 9 (SIGKILL)");
    let bytes = cluster.log_bytes(1);
    cluster.healed("disk-crash", &mut hold);
    assert!(hold.is_empty());
    cluster.all_write();
    assert!(cluster.log_bytes(1) > bytes, "it goes on where it was stopped");
}

fn a_crash_before_what_never_comes_is_skipped(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    let (receipt, hold) = cluster.injected("disk-crash:operation=rename:path=*:nth=1", &[1]);
    assert_outcome(&receipt, Outcome::Skipped, "no rename of `*` for the 1. time within 3s");
    assert!(hold.is_empty());
    cluster.all_write();
}

fn a_node_that_stops_on_an_error_is_started_by_the_heal(_: &Sandbox) {
    for text in [
        "disk-eio:operation=write:nth=1:times=1:percent=100:path=log",
        "fsync-error:nth=2:times=1:pages=clean:path=*",
        "disk-full:path=*",
    ] {
        let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
        let (receipt, mut hold) = cluster.injected(text, &[1]);
        assert_outcome(&receipt, Outcome::Installed, "n1 probe on the disk: create ");
        let pid = cluster.pid(NodeId(1)).expect("it is not reaped");
        eventually("its end", Duration::from_secs(10), || {
            !proc::stat(pid).expect("/proc is readable").is_some_and(proc::Stat::is_alive)
        });
        let name = text.split(':').next().expect("a name");
        let receipt = cluster.healed(name, &mut hold);
        assert_outcome(&receipt, Outcome::Installed, "n1 disk journal: 1 operations of the node were hurt");
        assert_outcome(&receipt, Outcome::Installed, "n1 processes: had stopped by itself");
        assert_outcome(&receipt, Outcome::Installed, "n1 probe on the disk: create ok, write ok, fsync ok");
        assert!(hold.is_empty());
        cluster.all_write();
    }
}

/// Rules about paths that the node does not use, so that it lives.
const RULES: [(&str, &str); 6] = [
    ("disk-eio:operation=read:path=x*:nth=9", "read EIO"),
    ("disk-eio:operation=write:path=x*:nth=1", "write EIO"),
    ("disk-eio:operation=fsync:path=x*:nth=1", "fsync EIO"),
    ("fsync-error:path=x*", "fsync EIO"),
    ("disk-full:path=x*", "write ENOSPC"),
    ("slow-fsync:path=x*:delay_ms=100", "fsync ok in 1"),
];

fn every_rule_is_seen_in_force_and_gone(_: &Sandbox) {
    let mut cluster = TestCluster::new(2, SYNCS, Flaw::None);
    for (text, seen) in RULES {
        let (receipt, mut hold) = cluster.injected(text, &[2]);
        assert_outcome(&receipt, Outcome::Installed, seen);
        assert!(receipt.evidence.iter().all(|evidence| evidence.node == Some(NodeId(2))));
        let name = text.split(':').next().expect("a name");
        let receipt = cluster.healed(name, &mut hold);
        assert_outcome(&receipt, Outcome::Installed, "0 operations of the node were hurt; it did not bite");
        assert_outcome(&receipt, Outcome::Installed, "n2 probe on the disk: create ok, write ok, fsync ok");
        assert_outcome(&receipt, Outcome::Installed, "n2 processes: kept running");
        assert!(hold.is_empty());
    }
}

fn a_rule_that_is_not_armed_is_indeterminate(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::ArmIgnored);
    for (text, _) in RULES {
        let (receipt, _) = cluster.injected(text, &[1]);
        assert_outcome(&receipt, Outcome::Indeterminate, "create ok, write ok, fsync ok");
    }
}

fn a_rule_that_stays_is_indeterminate_and_the_final_heal_mends_it(_: &Sandbox) {
    for (text, seen) in RULES {
        let mut cluster = TestCluster::new(1, SYNCS, Flaw::DisarmIgnored);
        let (_, mut hold) = cluster.injected(text, &[1]);
        let name = text.split(':').next().expect("a name");
        let receipt = cluster.healed(name, &mut hold);
        assert_outcome(&receipt, Outcome::Indeterminate, seen);
        let receipt = heal::everything(&mut cluster).expect("the cluster does not refuse");
        assert_outcome(&receipt, Outcome::Installed, "n1 disk journal: 1 rules had been left in force");
        let probe = cluster.disks[&NodeId(1)].probe(&Pattern::new("x*"), Duration::ZERO).expect("it answers");
        assert_eq!((probe.create, probe.write, probe.sync, probe.read), (Ok(()), Ok(()), Ok(()), Ok(())));
    }
}

fn a_disk_stays_hurt_for_the_other_fault(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    let (_, mut first) = cluster.injected("fsync-error:path=x*", &[1]);
    let (_, mut second) = cluster.injected("disk-full:path=x*", &[1]);
    let fault = faults::find("fsync-error").expect("it exists");
    let receipt = fault.heal(&mut cluster, &mut first, &second).expect("the cluster does not refuse");
    assert_outcome(&receipt, Outcome::Installed, "n1 nemesis: the disk stays hurt by another fault");
    let probe = cluster.disks[&NodeId(1)].probe(&Pattern::new("x*"), Duration::ZERO).expect("it answers");
    assert_eq!(probe.create, Err(nix::errno::Errno::ENOSPC));
    cluster.healed("disk-full", &mut second);
}

fn a_node_in_a_slow_sync_is_killed_at_once(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    let (_, mut hold) = cluster.injected("slow-fsync:path=log:delay_ms=5000", &[1]);
    let disk = Arc::clone(&cluster.disks[&NodeId(1)]);
    let id = hold.disk_rules.keys().next().expect("a rule is armed").1;
    eventually("a slow sync", Duration::from_secs(10), || disk.hits(id) > 0);
    let began = std::time::Instant::now();
    let (receipt, mut killed) = cluster.injected("kill", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "n1 waitid: signal 9 (SIGKILL)");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    cluster.healed("kill", &mut killed);
    eventually("a slow sync", Duration::from_secs(10), || disk.hits(id) > 1);
    let began = std::time::Instant::now();
    let receipt = cluster.healed("slow-fsync", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, "n1 processes: kept running");
    cluster.all_write();
    assert!(began.elapsed() < Duration::from_secs(4), "the heal ends the wait: {:?}", began.elapsed());
}

fn lost_writes_are_gone_after_the_power_loss(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    let (receipt, mut hold) = cluster.injected("lost-write:syncs=10:path=*:mode=ext4", &[1]);
    assert_outcome(&receipt, Outcome::Installed, " syncs of the node saved nothing");
    assert_outcome(&receipt, Outcome::Installed, "n1 files through the mount: data/log: ");
    cluster.healed("lost-write", &mut hold);
    assert!(hold.is_empty());
    cluster.all_write();

    let mut cluster = TestCluster::new(1, SYNCS, Flaw::PowerKept);
    let (receipt, _) = cluster.injected("lost-write:syncs=10:path=*:mode=ext4", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "none changed");
}

fn a_turned_bit_is_turned_back(_: &Sandbox) {
    let mut cluster = TestCluster::new(2, SYNCS, Flaw::None);
    let before = cluster.pid(NodeId(1)).expect("n1 is up");
    let (receipt, mut hold) = cluster.injected("bit-flip:path=log", &[1]);
    assert_outcome(&receipt, Outcome::Installed, "n1 file through the mount: data/log: byte ");
    assert_outcome(&receipt, Outcome::Installed, "n1 files through the mount: 1 changed");
    let flip = hold.flips.first().expect("a bit is turned").clone();
    let disk = Arc::clone(&cluster.disks[&NodeId(1)]);
    assert_eq!(disk.byte("data/log", flip.offset).expect("it is read"), flip.turned);
    assert_ne!(cluster.pid(NodeId(1)), Some(before), "it was started to read it");
    let receipt = cluster.healed("bit-flip", &mut hold);
    assert_outcome(&receipt, Outcome::Installed, &format!("byte {} {:#04x} → ", flip.offset, flip.turned));
    let expected = b"0123456789abcdef"[(flip.offset % 16) as usize];
    assert_eq!(disk.byte("data/log", flip.offset).expect("it is read"), expected);
    assert!(hold.is_empty());
    cluster.all_write();
}

fn a_bit_that_does_not_turn_is_indeterminate(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::FlipIgnored);
    let (receipt, _) = cluster.injected("bit-flip:path=log", &[1]);
    assert_outcome(&receipt, Outcome::Indeterminate, "n1 files through the mount: 0 changed");
    let (receipt, _) = cluster.injected("bit-flip:path=nothing", &[1]);
    assert_outcome(&receipt, Outcome::Skipped, "n1 disk: no file `nothing` has anything in it");
}

fn faults_on_disks_need_disks(_: &Sandbox) {
    let mut cluster = TestCluster::new(1, SYNCS, Flaw::None);
    cluster.has_disks = false;
    let on_disks = FAULTS.iter().filter(|fault| fault.needs() == Needs::Disks).collect::<Vec<_>>();
    assert_eq!(on_disks.len(), 9);
    for fault in on_disks {
        assert!(!fault.needs().are_met_by(&mut cluster));
        let (result, _) = cluster.inject(fault.name(), &[1]);
        assert!(matches!(result, Err(FaultError::NoDisks)), "{}", fault.name());
    }
}
