//! Works on a booted cluster: clients and nemesis at the same time, then heal, recovery and final reads.
//!
//! ```text
//!          Drive                      Recovery            FinalReads     End
//! clients  |--------------------------|-------------------|
//! nemesis  |-inject-heal--…--heal all-|
//! probes                              |- one for a node --|
//! readers                                                 |- each node --|
//! ```
//!
//! A process is a task that has one operation at a time. After an `info` it is retired, and a new process takes its
//! place at the same node: the lost operation may still take effect, so its process can never be used again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use checkers::history::{Completion, NodeId, Op, Phase};
use nemesis::actor;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::report::Progress;
use crate::stop::Stop;
use crate::system::ClientOptions;
use crate::workload::{self, Generator, Seat, has_written};

/// A client whose operation failed at once (its node is down) waits this long, so that it does not spin.
const AFTER_FAIL: Duration = Duration::from_millis(100);
/// Time between two operations of a recovery probe.
const PROBE_PERIOD: Duration = Duration::from_millis(50);
/// How often a final read is asked again before it is given up.
const FINAL_READ_ATTEMPTS: u32 = 5;
/// How often the progress is shown.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// Drives the whole run. Every fault is healed when it returns, whatever it returns.
pub async fn drive(
    plan: &Plan,
    cluster: &Cluster,
    recorder: &Arc<Recorder>,
    progress: &Progress,
    stop: &Stop,
) -> Result<()> {
    let generator = workload::find(&plan.workload)?.generator();
    let clients = Clients::start(plan, cluster, recorder, &generator);
    let shown = show(plan, cluster, recorder, progress);

    recorder.phase(Phase::Drive);
    let driven = nemesis(plan, cluster, recorder, stop);
    let healed = tokio::select! {
        healed = driven => healed,
        () = shown => unreachable!("progress is shown until the nemesis is done"),
    };
    healed?;
    if stop.requested() {
        clients.finish().await;
        return Ok(());
    }

    progress.phase("recover", "every fault is healed; waiting until every node serves");
    recorder.phase(Phase::Recovery);
    recover(plan, cluster, recorder, &generator, stop).await;
    clients.finish().await;
    if stop.requested() {
        return Ok(());
    }

    progress.phase("read", "every key through every node");
    recorder.phase(Phase::FinalReads);
    let silent = final_reads(plan, cluster, recorder, &generator, stop).await;
    for node in &silent {
        let limit_ms = plan.recovery_limit_ms;
        progress.phase("warning", &format!("{node} answered no read for {limit_ms} ms; its final reads end"));
    }
    // A run without its last reads is not complete, and the history shows it by not having an end.
    if silent.is_empty() && !stop.requested() {
        recorder.phase(Phase::End);
    }
    Ok(())
}

/// Runs the nemesis on a thread of its own, until the time limit or a wish to stop, and heals everything.
async fn nemesis(plan: &Plan, cluster: &Cluster, recorder: &Arc<Recorder>, stop: &Stop) -> Result<()> {
    let end = Arc::new(actor::Stop::default());
    let began = Instant::now();
    let mut thread = tokio::task::spawn_blocking({
        let (schedule, mut cluster) = (plan.schedule.clone(), cluster.clone());
        let (recorder, end, seed) = (Arc::clone(recorder), Arc::clone(&end), plan.streams.targets);
        move || {
            actor::run(&schedule, &mut cluster, seed, &end, &mut |record: actor::FaultRecord| {
                tracing::info!(fault = record.fault, phase = ?record.phase, nodes = ?record.nodes, outcome = ?record.receipt.outcome, "nemesis");
                recorder.fault(&record.fault, record.phase, &record.nodes, &record.receipt);
            })
        }
    });
    let limit = began + Duration::from_millis(plan.time_limit_ms);
    let joined = tokio::select! {
        joined = &mut thread => {
            // The last fault may end before the time limit; the clients work on until then.
            if matches!(joined, Ok(Ok(()))) {
                let _ = stop.sleep(limit.saturating_duration_since(Instant::now())).await;
            }
            joined
        }
        () = stop.wait() => {
            end.request();
            thread.await
        }
    };
    joined
        .map_err(|error| Error::harness(format!("the nemesis panicked: {error}")))?
        .map_err(|error| Error::harness(error).help("what was recorded until then is in the run directory"))
}

/// The processes that work during drive and recovery.
struct Clients {
    end: Stop,
    tasks: JoinSet<()>,
}

impl Clients {
    fn start(
        plan: &Plan,
        cluster: &Cluster,
        recorder: &Arc<Recorder>,
        generator: &Arc<dyn Generator>,
    ) -> Self {
        let end = Stop::default();
        let mut tasks = JoinSet::new();
        let nodes = cluster.node_ids();
        let mut seeds = Pcg64Mcg::seed_from_u64(plan.streams.operations);
        for number in 0..plan.concurrency {
            let node = nodes[number as usize % nodes.len()];
            let seat = Seat::of(number, nodes.len());
            let mut process = Process::new(plan, cluster, recorder, node);
            let (generator, end) = (Arc::clone(generator), end.clone());
            let mut rng = Pcg64Mcg::seed_from_u64(seeds.random());
            // Staggered: the rate is that of all processes together, and they do not move in step.
            let period = Duration::from_secs_f64(f64::from(plan.concurrency) / f64::from(plan.rate));
            tasks.spawn(async move {
                let mut due = Instant::now() + period.mul_f64(rng.random());
                // At a low rate the next operation is due long after the end.
                while end.sleep(due.saturating_duration_since(Instant::now())).await {
                    let op = generator.next(seat, &mut rng);
                    let completion = process.perform(&op).await;
                    generator.completed(seat, &op, &completion);
                    if !matches!(completion, Completion::Ok(_)) {
                        sleep(AFTER_FAIL).await;
                    }
                    // A late operation does not make the next ones hurry: no burst after a fault.
                    due = (due + period.mul_f64(rng.random_range(0.5..1.5))).max(Instant::now());
                }
            });
        }
        Self { end, tasks }
    }

    /// Lets every process complete its operation and end.
    async fn finish(mut self) {
        self.end.request();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

/// A logical client at one node.
struct Process {
    id: checkers::history::ProcessId,
    node: NodeId,
    client: Box<dyn crate::system::Client>,
    cluster: Cluster,
    recorder: Arc<Recorder>,
}

impl Process {
    fn new(plan: &Plan, cluster: &Cluster, recorder: &Arc<Recorder>, node: NodeId) -> Self {
        let client = cluster.system().client(cluster.spec(node), ClientOptions::of(plan));
        let (cluster, recorder) = (cluster.clone(), Arc::clone(recorder));
        Self { id: recorder.new_process(), node, client, cluster, recorder }
    }

    async fn perform(&mut self, op: &Op) -> Completion {
        self.recorder.invoke(self.id, self.node, op);
        let completion = self.client.invoke(op).await;
        self.recorder.complete(self.id, &completion);
        match completion {
            Completion::Ok(_) => self.cluster.observer().acknowledged(self.node),
            Completion::Info { .. } => self.id = self.recorder.new_process(),
            Completion::Fail { .. } => (),
        }
        completion
    }
}

/// Works until every node has served an operation and some node a write, or the limit has passed.
async fn recover(
    plan: &Plan,
    cluster: &Cluster,
    recorder: &Arc<Recorder>,
    generator: &Arc<dyn Generator>,
    stop: &Stop,
) {
    let mut probes = JoinSet::new();
    for node in cluster.node_ids() {
        let mut process = Process::new(plan, cluster, recorder, node);
        let generator = Arc::clone(generator);
        let mut rng = Pcg64Mcg::seed_from_u64(plan.streams.operations ^ u64::from(node.0));
        let seat = Seat::probe(plan.concurrency, node);
        probes.spawn(async move {
            let mut written = false;
            // The last operation is a success, so the node serves; one of them was a write, so it can commit.
            loop {
                let op = generator.next(seat, &mut rng);
                let completion = process.perform(&op).await;
                generator.completed(seat, &op, &completion);
                if matches!(completion, Completion::Ok(_)) {
                    written |= has_written(&op, &completion);
                    if written {
                        return;
                    }
                }
                sleep(PROBE_PERIOD).await;
            }
        });
    }
    // The checker judges from the history whether the limit was kept; past it there is nothing to wait for.
    let limit = Duration::from_millis(plan.recovery_limit_ms);
    let served = timeout(limit, async { while probes.join_next().await.is_some() {} });
    tokio::select! {
        _ = served => (),
        () = stop.wait() => (),
    }
    // A probe that is cut off here leaves its operation open in the history: its end is unknown.
    probes.shutdown().await;
}

/// Reads every key through every node. Returns the nodes that fell silent, whose reads were given up: each lost read
/// costs a timeout, and all of them together would take hours.
async fn final_reads(
    plan: &Plan,
    cluster: &Cluster,
    recorder: &Arc<Recorder>,
    generator: &Arc<dyn Generator>,
    stop: &Stop,
) -> Vec<NodeId> {
    let mut readers = JoinSet::new();
    let silence_max = Duration::from_millis(plan.recovery_limit_ms);
    for node in cluster.node_ids() {
        let mut process = Process::new(plan, cluster, recorder, node);
        let (reads, stop) = (generator.final_reads(), stop.clone());
        readers.spawn(async move {
            let mut answered = Instant::now();
            for read in reads {
                for _ in 0..FINAL_READ_ATTEMPTS {
                    if stop.requested() {
                        return None;
                    }
                    if matches!(process.perform(&read).await, Completion::Ok(_)) {
                        answered = Instant::now();
                        break;
                    }
                    if answered.elapsed() > silence_max {
                        return Some(process.node);
                    }
                    sleep(AFTER_FAIL).await;
                }
            }
            None
        });
    }
    let ended = readers.join_all().await;
    ended.into_iter().flatten().collect()
}

/// Shows the progress for ever; the caller drops it.
async fn show(plan: &Plan, cluster: &Cluster, recorder: &Recorder, progress: &Progress) {
    let mut tick = interval(PROGRESS_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    loop {
        tick.tick().await;
        progress.drive(&crate::report::DriveState {
            elapsed: began.elapsed(),
            time_limit: Duration::from_millis(plan.time_limit_ms),
            ok: recorder.counts().ok.load(Ordering::Relaxed),
            leader: cluster.observer().leader(),
            leader_changes: cluster.observer().leader_changes(),
            in_force: recorder.in_force(),
        });
    }
}
