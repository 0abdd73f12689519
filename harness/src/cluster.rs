//! The running cluster: the OS processes of the nodes, their links and disks, and who leads.
//!
//! This is where the nemesis's capabilities meet a real system. Every way out of it kills and reaps the nodes; if the
//! harness itself is killed, the pid namespace takes them along.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use checkers::history::NodeId;
use nemesis::clock::probe::Probe;
use nemesis::clock::{Change, Child, Clock, NodeClock};
use nemesis::cluster::{Clocks, ClusterError, Disks, Failpoints, Links, Membership, Processes};
use nemesis::disk::{self, Disk, FaultyDisk};
use nemesis::faults::Needs;
use nemesis::net::{Burst, Link, LinkCounters, Network, Rule, Sighting};
use nemesis::signals::Signals;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::error::{Error, Result};
use crate::observer::Observer;
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::run_dir::RunDir;
use crate::system::{self, NodeSpec, Observe, System};

mod failpoints;
mod members;

use failpoints::Armed;

/// How often the supervisor looks for nodes that ended by themselves.
const SUPERVISION_PERIOD: Duration = Duration::from_millis(50);
/// Log lines kept of a node that died.
const LOG_LINES: usize = 12;
/// How often a node is looked at that was killed while it may wait for its disk.
const REAP_PERIOD: Duration = Duration::from_millis(1);

/// A handle on the cluster of one run. Clones are handles on the same cluster.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    system: &'static dyn System,
    plan: Plan,
    run: RunDir,
    specs: BTreeMap<NodeId, NodeSpec>,
    network: Network,
    /// Of nodes whose clocks the plan bends. Others are started as they are.
    clocks: BTreeMap<NodeId, NodeClock>,
    /// Of each node, where a fault of the plan needs them. Unmounted after the processes have ended.
    disks: BTreeMap<NodeId, Arc<Disk>>,
    observer: Observer,
    processes: Mutex<BTreeMap<NodeId, Process>>,
    /// Deaths that were noticed by the way and not yet told.
    untold: Mutex<Vec<Death>>,
    armed: Armed,
    /// Nodes that were started last with an empty disk, after the cluster was.
    wiped: Mutex<BTreeSet<NodeId>>,
}

enum Process {
    Down,
    Up(Child),
}

/// How a node ended that nobody had killed.
#[derive(Clone, Debug)]
pub struct Death {
    /// Which node.
    pub node: NodeId,
    /// In words.
    pub status: String,
    /// Whether the node is to blame: a panic or a crash.
    pub crash: bool,
    /// Its last log lines.
    pub log: Vec<String>,
}

impl Cluster {
    /// A cluster of the plan's nodes on this network. No process is started yet.
    pub fn new(plan: &Plan, run: &RunDir, network: Network) -> Result<Self> {
        let system = system::find(&plan.system)?;
        let nodes = run.node_ids(plan);
        let members = nodes.iter().map(|&node| (node, network.address(node))).collect::<Vec<_>>();
        let disks = disks(plan, run)?;
        let mut seeds = Pcg64Mcg::seed_from_u64(plan.streams.nodes);
        // Without a fault that needs them, nodes do not look for them.
        let has_failpoints = plan.schedule.needs(Needs::Failpoints);
        let specs = members
            .iter()
            .map(|&(id, address)| {
                let spec = NodeSpec {
                    id,
                    address,
                    members: members.clone(),
                    data_dir: disks.get(&id).map_or_else(|| run.data(id), |disk| disk.data()),
                    trace: run.trace(id),
                    failpoints: has_failpoints.then(|| run.node(id).join("failpoints")),
                    joins: false,
                    seed: seeds.next_u64(),
                };
                (id, spec)
            })
            .collect::<BTreeMap<_, _>>();
        let traces = specs
            .values()
            .map(|spec| match system.observe(spec) {
                Observe::Trace(path) => (spec.id, path),
            })
            .collect();
        let observer = Observer::start(traces)
            .map_err(|error| Error::harness(format!("failed to start the observer thread: {error}")))?;
        let clocks = clocks(plan, &nodes)?;
        let processes = Mutex::new(nodes.iter().map(|&node| (node, Process::Down)).collect());
        Ok(Self {
            shared: Arc::new(Shared {
                system,
                plan: plan.clone(),
                run: run.clone(),
                specs,
                network,
                clocks,
                disks,
                observer,
                processes,
                untold: Mutex::default(),
                armed: Armed::default(),
                wiped: Mutex::default(),
            }),
        })
    }

    /// Starts every node.
    pub fn start_all(&self) -> Result<()> {
        for &node in self.shared.specs.keys() {
            self.clone().start(node).map_err(|error| {
                Error::harness(error)
                    .help("the node's files are in the run directory; `harness doctor` checks the machine")
            })?;
        }
        Ok(())
    }

    /// All nodes, in order.
    pub fn node_ids(&self) -> Vec<NodeId> {
        self.shared.specs.keys().copied().collect()
    }

    /// What a node was started with.
    pub fn spec(&self, node: NodeId) -> &NodeSpec {
        &self.shared.specs[&node]
    }

    /// The system that runs.
    pub fn system(&self) -> &'static dyn System {
        self.shared.system
    }

    /// Who leads, as far as the traces tell.
    pub fn observer(&self) -> &Observer {
        &self.shared.observer
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// The address of a node.
    pub fn address(&self, node: NodeId) -> Ipv4Addr {
        self.shared.specs[&node].address
    }

    /// Nodes that ended by themselves since the last call.
    pub fn deaths(&self) -> Vec<Death> {
        self.reap();
        std::mem::take(&mut *self.untold())
    }

    /// Notices nodes that ended by themselves.
    fn reap(&self) {
        for (&node, process) in self.processes().iter_mut() {
            let Process::Up(child) = process else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                *process = Process::Down;
                self.shared.observer.down(node);
                self.ended_by_itself(node, status);
            }
        }
    }

    /// A node ended that nobody had killed: a fault that armed a failpoint will ask, of anything else the run is told.
    fn ended_by_itself(&self, node: NodeId, status: ExitStatus) {
        let at_point = self.shared.system.failpoints().map(|points| points.exit_status);
        if !self.shared.armed.explains(node, status, at_point) {
            let death =
                Death { node, status: in_words(status), crash: is_crash(status), log: self.log_tail(node) };
            self.untold().push(death);
        }
    }

    /// Records nodes that end by themselves, until the guard is dropped.
    pub fn supervise(&self, recorder: Arc<Recorder>) -> Result<Supervisor> {
        let end = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("supervisor".into()).spawn({
            let (cluster, end) = (self.clone(), Arc::clone(&end));
            move || {
                loop {
                    // Asked first, so that there is a last look after the end was wished for.
                    let last = end.load(Ordering::Relaxed);
                    for death in cluster.deaths() {
                        tracing::warn!(node = %death.node, status = death.status, "node died by itself");
                        recorder.death(death.node, &death.status, death.crash, &death.log);
                    }
                    if last {
                        return;
                    }
                    thread::sleep(SUPERVISION_PERIOD);
                }
            }
        });
        let thread =
            thread.map_err(|error| Error::harness(format!("failed to start the supervisor: {error}")))?;
        Ok(Supervisor { end, thread: Some(thread) })
    }

    /// The node's log at its end: what people look at first when it died.
    pub fn log_tail(&self, node: NodeId) -> Vec<String> {
        let path = self.shared.run.node(node).join("stderr.log");
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|&line| line.to_owned()).collect()
    }

    /// Kills and reaps every node that is up.
    pub fn stop_all(&self) {
        for (&node, process) in self.processes().iter_mut() {
            if let Process::Up(child) = process {
                // Failing means that it has just ended; either way it is reaped here.
                let _ = end(child, self.shared.disks.get(&node));
                *process = Process::Down;
                self.shared.observer.down(node);
            }
        }
    }

    /// Copies what is on the nodes' disks into the run directory, with the disks' journals, as the disks go with this
    /// cluster. Gives the nodes whose disks were full because memory for them had run out.
    pub fn keep_data(&self) -> Result<Vec<NodeId>> {
        let mut full = Vec::new();
        for (&node, disk) in &self.shared.disks {
            let (data, journal) = (self.shared.run.data(node), self.shared.run.disk_journal(node));
            disk.dump_to(&data).map_err(|error| Error::io("copy a disk to", &data, &error))?;
            std::fs::write(&journal, disk.journal()).map_err(|error| Error::io("write", &journal, &error))?;
            if disk.refused_by_capacity() > 0 {
                full.push(node);
            }
        }
        Ok(full)
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Process>> {
        self.shared.processes.lock().expect("nobody panics while holding the processes")
    }

    fn untold(&self) -> MutexGuard<'_, Vec<Death>> {
        self.shared.untold.lock().expect("nobody panics while holding the deaths")
    }

    fn wiped(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.shared.wiped.lock().expect("nobody panics while holding the wiped nodes")
    }

    fn spawn(&self, node: NodeId) -> std::io::Result<Child> {
        let mut spec = self.shared.specs[&node].clone();
        spec.joins = self.wiped().contains(&node);
        let dir = self.shared.run.node(node);
        let log = |name: &str| File::options().append(true).create(true).open(dir.join(name));
        let mut command = self.shared.system.command(&spec, &self.shared.plan.settings);
        command.stdin(Stdio::null()).stdout(log("stdout.log")?).stderr(log("stderr.log")?);
        self.shared.network.command_in(node, &mut command)?;
        match self.shared.clocks.get(&node) {
            Some(clock) => clock.spawn(command),
            None => Child::plain(&mut command),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let processes = self.processes.get_mut().expect("nobody panics while holding the processes");
        for (node, process) in processes.iter_mut() {
            if let Process::Up(child) = process {
                let _ = end(child, self.disks.get(node));
            }
        }
    }
}

/// Looks for deaths until dropped.
pub struct Supervisor {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only if somebody else did first.
            let _ = thread.join();
        }
    }
}

impl nemesis::cluster::Cluster for Cluster {
    fn nodes(&self) -> Vec<NodeId> {
        self.node_ids()
    }

    fn leader(&self) -> Option<NodeId> {
        let (leader, _) = self.shared.observer.leader()?;
        self.pid(leader).map(|_| leader)
    }

    fn processes(&mut self) -> &mut dyn Processes {
        self
    }

    fn links(&mut self) -> Option<&mut dyn Links> {
        Some(self)
    }

    fn clocks(&mut self) -> Option<&mut dyn Clocks> {
        if self.shared.clocks.is_empty() { None } else { Some(self) }
    }

    fn disks(&mut self) -> Option<&mut dyn Disks> {
        (!self.shared.disks.is_empty()).then_some(self as &mut dyn Disks)
    }

    fn failpoints(&mut self) -> Option<&mut dyn Failpoints> {
        self.shared.system.failpoints().is_some().then_some(self as &mut dyn Failpoints)
    }

    fn membership(&mut self) -> Option<&mut dyn Membership> {
        self.shared.system.members().is_some().then_some(self as &mut dyn Membership)
    }

    fn signals(&self) -> Signals {
        Signals { leader: nemesis::cluster::Cluster::leader(self), ..self.shared.observer.signals() }
    }
}

impl Processes for Cluster {
    fn pid(&self, node: NodeId) -> Option<Pid> {
        match Cluster::processes(self).get(&node)? {
            Process::Up(child) => Some(child.pid()),
            Process::Down => None,
        }
    }

    fn kill(&mut self, node: NodeId) -> std::result::Result<String, ClusterError> {
        let mut processes = Cluster::processes(self);
        let Some(process @ Process::Up(_)) = processes.get_mut(&node) else {
            return Err(ClusterError::Down(node));
        };
        let Process::Up(mut child) = std::mem::replace(process, Process::Down) else {
            unreachable!("it was matched to be up")
        };
        self.shared.observer.down(node);
        let os = |source| ClusterError::Os { action: "kill", node, source };
        // A node that crashed since the last look was not killed, and its crash must not pass as our doing.
        if let Some(status) = child.try_wait().map_err(os)? {
            self.ended_by_itself(node, status);
            return Err(ClusterError::Down(node));
        }
        end(&mut child, self.shared.disks.get(&node)).map(in_words).map_err(os)
    }

    fn start(&mut self, node: NodeId) -> std::result::Result<Pid, ClusterError> {
        let mut processes = Cluster::processes(self);
        let process = processes.get_mut(&node).expect("faults name only nodes of the cluster");
        if let Process::Up(child) = process {
            let os = |source| ClusterError::Os { action: "start", node, source };
            let Some(status) = child.try_wait().map_err(os)? else { return Err(ClusterError::Up(node)) };
            // It died since the last look: it is down, and needs its start.
            *process = Process::Down;
            self.shared.observer.down(node);
            self.ended_by_itself(node, status);
        }
        let child = self.spawn(node).map_err(|source| ClusterError::Os { action: "start", node, source })?;
        let pid = child.pid();
        *process = Process::Up(child);
        Ok(pid)
    }

    fn pause(&mut self, node: NodeId) -> std::result::Result<(), ClusterError> {
        self.signal(node, Signal::SIGSTOP, "pause")
    }

    fn resume(&mut self, node: NodeId) -> std::result::Result<(), ClusterError> {
        self.signal(node, Signal::SIGCONT, "resume")
    }

    fn wipe(&mut self, node: NodeId) -> std::result::Result<(), ClusterError> {
        // Held, so that nobody starts the node meanwhile.
        let processes = Cluster::processes(self);
        if matches!(processes.get(&node), Some(Process::Up(_))) {
            return Err(ClusterError::Up(node));
        }
        if let Some(disk) = self.shared.disks.get(&node) {
            disk.wipe();
            self.wiped().insert(node);
            return Ok(());
        }
        let data = &self.shared.specs[&node].data_dir;
        std::fs::remove_dir_all(data).map_err(|source| ClusterError::Os { action: "wipe", node, source })?;
        self.wiped().insert(node);
        Ok(())
    }
}

impl Cluster {
    fn signal(
        &self,
        node: NodeId,
        signal: Signal,
        action: &'static str,
    ) -> std::result::Result<(), ClusterError> {
        // Held while signalling, so that the pid cannot be reaped and reused in between.
        let processes = self.processes();
        let Some(Process::Up(child)) = processes.get(&node) else { return Err(ClusterError::Down(node)) };
        child.signal(signal).map_err(|source| ClusterError::Os { action, node, source })
    }
}

impl Disks for Cluster {
    fn disk(&self, node: NodeId) -> Arc<dyn FaultyDisk> {
        Arc::clone(&self.shared.disks[&node]) as Arc<dyn FaultyDisk>
    }
}

impl Links for Cluster {
    fn set(&mut self, link: Link, rule: Rule) {
        self.shared.network.set(link.from, link.to, rule);
    }

    fn rule(&self, link: Link) -> Rule {
        self.shared.network.rule(link.from, link.to)
    }

    fn counters(&self, link: Link) -> LinkCounters {
        self.shared.network.counters(link.from, link.to)
    }

    fn probe(&self, link: Link, wait: Duration) -> std::result::Result<bool, ClusterError> {
        let arrived = self.shared.network.probe(link.from, link.to, wait);
        arrived.map_err(|source| ClusterError::Link { link, source })
    }

    fn burst(&self, links: &[Link], burst: &Burst) -> std::result::Result<Vec<Sighting>, ClusterError> {
        let Some(&link) = links.first() else { return Ok(Vec::new()) };
        self.shared.network.burst(links, burst).map_err(|source| ClusterError::Link { link, source })
    }
}

impl Clocks for Cluster {
    fn bend(&mut self, node: NodeId, clock: Clock, change: Change) -> std::result::Result<(), ClusterError> {
        self.clock(node).bend(clock, change).map_err(|source| os("bend a clock of", node, source))
    }

    fn restore(&mut self, node: NodeId, clock: Clock) -> std::result::Result<(), ClusterError> {
        self.clock(node).restore(clock).map_err(|source| os("heal a clock of", node, source))
    }

    fn is_bent(&self, node: NodeId, clock: Clock) -> bool {
        self.clock(node).is_bent(clock)
    }

    fn probe(&self, node: NodeId) -> std::result::Result<Probe, ClusterError> {
        Probe::start(self.clock(node)).map_err(|source| os("start a probe of the clocks of", node, source))
    }

    fn is_hooked(&self, node: NodeId) -> std::result::Result<bool, ClusterError> {
        let Some(pid) = Processes::pid(self, node) else { return Err(ClusterError::Down(node)) };
        self.clock(node).is_mapped_by(pid).map_err(|source| os("look at the memory of", node, source))
    }
}

impl Cluster {
    fn clock(&self, node: NodeId) -> &NodeClock {
        self.shared.clocks.get(&node).expect("a cluster that has clocks has them for every node")
    }
}

fn os(action: &'static str, node: NodeId, source: std::io::Error) -> ClusterError {
    ClusterError::Os { action, node, source }
}

/// The clocks of the nodes, as far as the plan bends them; none if it bends none, so that such a run costs nothing.
fn clocks(plan: &Plan, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, NodeClock>> {
    let Some(level) = nemesis::faults::clocks_needed_by(&plan.schedule) else { return Ok(BTreeMap::new()) };
    nemesis::clock::test(level).map_err(|reason| Error::harness(&reason).help(reason.help))?;
    let clock = |&node| NodeClock::new(level).map(|clock| (node, clock));
    nodes
        .iter()
        .map(clock)
        .collect::<std::io::Result<_>>()
        .map_err(|error| Error::harness(format!("failed to make the memory that bends clocks: {error}")))
}

/// A disk for each node, if a fault of the plan acts on disks; else the nodes keep their data in the run directory.
fn disks(plan: &Plan, run: &RunDir) -> Result<BTreeMap<NodeId, Arc<Disk>>> {
    if !plan.schedule.needs(Needs::Disks) {
        return Ok(BTreeMap::new());
    }
    let mount = |node: NodeId| {
        let at = run.mount_point(node);
        std::fs::create_dir(&at).map_err(|error| Error::io("create", &at, &error))?;
        let disk = Disk::mount(Path::new(disk::DEVICE), &at, disk::CAPACITY_BYTES)
            .map_err(|error| Error::harness(&error).help(error.help()))?;
        Ok((node, Arc::new(disk)))
    };
    run.node_ids(plan).into_iter().map(mount).collect()
}

/// SIGKILL, and wait until the process is reaped. One that waits for its disk ends only when it is answered.
fn end(child: &mut Child, disk: Option<&Arc<Disk>>) -> std::io::Result<ExitStatus> {
    child.kill()?;
    let Some(disk) = disk else { return child.wait() };
    loop {
        disk.abandon();
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(REAP_PERIOD);
    }
}

fn in_words(status: ExitStatus) -> String {
    match status.signal() {
        Some(number) => match Signal::try_from(number) {
            Ok(signal) => format!("signal {number} ({signal})"),
            Err(_) => format!("signal {number}"),
        },
        None => {
            format!("exit status {}", status.code().expect("a process ends by a signal or with a status"))
        }
    }
}

/// Rust's panics exit with 101; the signals are what a broken program gets. SIGKILL that we did not send is the
/// kernel's answer to a machine out of memory, and other statuses are the node's own way to say what it lacks.
fn is_crash(status: ExitStatus) -> bool {
    const FAULTS: [Signal; 6] =
        [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP];
    status.code() == Some(101) || FAULTS.iter().any(|&fault| status.signal() == Some(fault as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_from_other_ends() {
        let ends = |shell: &str| {
            std::process::Command::new("sh").args(["-c", shell]).status().expect("a shell exists")
        };
        let aborted = ends("kill -ABRT $$");
        assert_eq!(in_words(aborted), "signal 6 (SIGABRT)");
        assert!(is_crash(aborted));
        assert!(is_crash(ends("exit 101")));
        assert!(!is_crash(ends("exit 74")));
        assert!(!is_crash(ends("kill -KILL $$")));
    }
}
