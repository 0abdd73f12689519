//! Walks a run from end to end: plan, boot, drive, judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use checkers::history::{Header, Op};
use checkers::model::Object;
use checkers::{Consistency, Verdict};
use nemesis::net::{Network, NetworkOptions, Sandbox};
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::drive;
use crate::error::{Error, Result};
use crate::judge::{Judgement, judge_run};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::report::Progress;
use crate::run_dir::RunDir;
use crate::stop::Stop;
use crate::system::ClientOptions;

/// A cluster that serves on no node after this time never will.
const BOOT_LIMIT: Duration = Duration::from_secs(30);
/// A leader that serves is seen in its trace within this time.
const OBSERVER_LIMIT: Duration = Duration::from_secs(2);
/// Time between two questions whether it serves.
const BOOT_PERIOD: Duration = Duration::from_millis(25);

/// What the caller wishes besides the plan; it changes nothing that is asked of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Keep the packets of a valid run too.
    pub keep_pcap: bool,
    /// Go on after a violation is certain, instead of ending the run there.
    pub keep_going: bool,
}

/// Runs a plan in a sandbox and judges it. Also on Ctrl-C, what was recorded is judged.
pub async fn run(
    plan: &Plan,
    run: &RunDir,
    sandbox: &Sandbox,
    options: Options,
    progress: &Progress,
    stop: &Stop,
) -> Result<Judgement> {
    let network = network(plan, run, sandbox, Some(run.pcap()))?;
    let clock = Clock::start();
    let header = Header {
        origin_ns: clock.origin_ns(),
        system: plan.system.clone(),
        workload: plan.workload.clone(),
        seed: plan.seed,
    };
    let recorder = Arc::new(Recorder::create(&run.history(), clock, &header, stop.clone())?);
    let cluster = boot(plan, run, network, progress, stop).await?;
    // Only registers can be judged while the run goes on, and only by the strictest promise.
    let is_judged_live = Object::of_workload(&plan.workload) == Object::Register
        && plan.expectations.consistency == Consistency::Linearizable;
    if is_judged_live && !options.keep_going {
        recorder.judge_live();
    }

    let supervisor = cluster.supervise(Arc::clone(&recorder))?;
    let driven = drive::drive(plan, &cluster, &recorder, progress, stop).await;
    drop(supervisor);
    for (endpoint, packets) in cluster.network().interface_drops() {
        tracing::warn!(%endpoint, packets, "packets were dropped that no fault asked for");
    }
    let switched = cluster.network().is_running();
    cluster.stop_all();
    let full = cluster.keep_data()?;
    drop(cluster);
    for node in run.node_ids(plan) {
        // Only there if the node had a disk of its own.
        let _ = std::fs::remove_dir(run.mount_point(node));
    }
    progress.clear();
    for node in full {
        let most = nemesis::disk::CAPACITY_BYTES >> 20;
        progress
            .phase("warning", &format!("the disk of {node} was full without a fault: it holds {most} MiB"));
    }
    driven?;
    if let Some(violation) = recorder.violation() {
        progress.phase("stop", &format!("the run ends early: {violation}"));
    }
    if !switched {
        return Err(Error::harness(
            "the switch ended by itself: every link was cut, and the run is worth nothing",
        )
        .help(format!("{} may say why", run.log().display())));
    }
    Arc::into_inner(recorder).expect("every process, the nemesis and the supervisor have ended").finish()?;

    progress.phase("check", "reading the run back");
    let judgement = judge_run(run)?;
    if judgement.verdict == Verdict::Valid {
        forget(run, plan, options.keep_pcap)?;
    }
    Ok(judgement)
}

/// The network of a plan.
pub fn network(plan: &Plan, run: &RunDir, sandbox: &Sandbox, pcap: Option<PathBuf>) -> Result<Network> {
    let options = NetworkOptions { seed: plan.streams.packets, pcap, ..NetworkOptions::default() };
    sandbox.network(&run.node_ids(plan), options).map_err(|error| Error::harness(&error).help(error.help()))
}

/// Starts the nodes and waits until every one of them answers a read.
pub async fn boot(
    plan: &Plan,
    run: &RunDir,
    network: Network,
    progress: &Progress,
    stop: &Stop,
) -> Result<Cluster> {
    let cluster = Cluster::new(plan, run, network)?;
    let began = Instant::now();
    cluster.start_all()?;
    let read = Op::Read { key: "boot".to_owned() };
    for node in cluster.node_ids() {
        let mut client = cluster.system().client(cluster.spec(node), ClientOptions::of(plan));
        // These reads are no part of the history: they change nothing, and nothing has been written.
        while !matches!(client.invoke(&read).await, checkers::history::Completion::Ok(_)) {
            if let Some(death) = cluster.deaths().first() {
                let log = death.log.join("\n");
                return Err(Error::harness(format!("{} ended while booting: {}", death.node, death.status))
                    .help(format!("its last log lines:\n{log}")));
            }
            if stop.requested() {
                return Err(Error::harness("stopped while booting"));
            }
            if began.elapsed() > BOOT_LIMIT {
                let log = cluster.log_tail(node).join("\n");
                return Err(Error::harness(format!(
                    "{node} did not serve within {} s",
                    BOOT_LIMIT.as_secs()
                ))
                .help(format!("its last log lines:\n{log}")));
            }
            sleep(BOOT_PERIOD).await;
        }
    }
    // Who leads is read from the traces, a moment after the nodes themselves know.
    let asked = Instant::now();
    while cluster.observer().leader().is_none() && asked.elapsed() < OBSERVER_LIMIT {
        sleep(BOOT_PERIOD).await;
    }
    let leader = match cluster.observer().leader() {
        Some((node, term)) => format!("{node} leads term {term}"),
        None => "no leader is known".to_owned(),
    };
    progress.phase(
        "boot",
        &format!("{0}/{0} nodes serve after {1:.1} s, {leader}", plan.nodes, began.elapsed().as_secs_f64()),
    );
    Ok(cluster)
}

/// Removes what only a failure needs: the nodes' data, and packets that nobody asked for.
fn forget(run: &RunDir, plan: &Plan, keep_pcap: bool) -> Result<()> {
    for node in run.node_ids(plan) {
        let data = run.data(node);
        std::fs::remove_dir_all(&data).map_err(|error| Error::io("remove", &data, &error))?;
        let _ = std::fs::remove_file(run.disk_journal(node));
    }
    if !keep_pcap && run.pcap().exists() {
        std::fs::remove_file(run.pcap()).map_err(|error| Error::io("remove", &run.pcap(), &error))?;
    }
    Ok(())
}
