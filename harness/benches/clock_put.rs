//! What bendable clocks cost a put: three nodes in the sandbox, started as they are, under the hook, and with their waits
//! traced. No clock is bent meanwhile.
//!
//! ```text
//! cargo bench -p harness --bench clock_put
//! ```
//! The kinds take turns, back and forth, so that a machine that gets busy meanwhile favours none.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use checkers::history::{Completion, NodeId, Op};
use harness::config::{RunConfig, Settings};
use harness::plan::{Plan, plan};
use harness::report::Progress;
use harness::run_dir::{Purpose, RunDir};
use harness::stop::Stop;
use harness::system::ClientOptions;
use nemesis::clock::probe;
use nemesis::net::{self, Request, Sandbox};
use nemesis::schedule::{Schedule, Step};
use nemesis::target::Target;

const NODES: u16 = 3;
const ROUNDS: u64 = 2;
const PUTS: u64 = 400;
/// Puts before any is counted: connections are opened, and the log grows its first file.
const WARM_UP: u64 = 50;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // Nodes and probes are this binary too.
    match std::env::args().nth(1).as_deref() {
        Some("raft-kv") => return cluster_under_test::cli::main_from(std::env::args_os().skip(1)),
        Some(probe::ARGUMENT) => return probe::main(),
        _ => {}
    }
    let done = net::enter(&Request::default()).map_err(Failure::from).and_then(|sandbox| measure(&sandbox));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which fault a plan must hold for the nodes to be started that way.
const KINDS: [(&str, Option<&str>); 3] =
    [("as they are", None), ("under the hook", Some("clock-strobe")), ("waits traced", Some("clock-freeze"))];

fn measure(sandbox: &Sandbox) -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("clock-bench-{}", std::process::id()));
    let times = all_puts(sandbox, &directory);
    std::fs::remove_dir_all(directory)?;
    let mut times = times?;
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let medians = times.each_mut().map(median);
    println!("a put through one node of {NODES}, median of {}", times[0].len());
    for ((name, _), median) in KINDS.iter().zip(medians) {
        println!("  {name:<16} {median:>8.0} µs  ratio {:.2}", median / medians[0]);
    }
    Ok(())
}

fn all_puts(sandbox: &Sandbox, directory: &std::path::Path) -> Result<[Vec<Duration>; KINDS.len()], Failure> {
    let mut times = [const { Vec::new() }; KINDS.len()];
    for round in 0..ROUNDS {
        for turn in (0..KINDS.len()).chain((0..KINDS.len()).rev()) {
            times[turn].extend(puts(sandbox, directory, KINDS[turn].1, round + 1)?);
        }
    }
    Ok(times)
}

fn a_plan(fault: Option<&str>, seed: u64) -> Result<Plan, Failure> {
    let mut plan = plan(&RunConfig::idle("raft-kv", NODES, Settings::default()), seed)?;
    // Never carried out: it is there for what the nodes are started with.
    let step = fault.map(|fault| {
        serde_json::json!({"at_ms": 0, "duration_ms": 0, "fault": fault, "target": Target::One.to_string()})
    });
    let steps = step.map(serde_json::from_value::<Step>).transpose()?.into_iter().collect();
    plan.schedule = Schedule { steps };
    Ok(plan)
}

fn puts(
    sandbox: &Sandbox,
    directory: &std::path::Path,
    fault: Option<&str>,
    seed: u64,
) -> Result<Vec<Duration>, Failure> {
    let plan = a_plan(fault, seed)?;
    let run = RunDir::create(directory, &plan, Purpose::Up)?;
    let network = harness::run::network(&plan, &run, sandbox, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let cluster = harness::run::boot(&plan, &run, network, &Progress::new(), &Stop::default()).await?;
        let node = cluster.spec(NodeId(1));
        let mut client = cluster.system().client(node, ClientOptions::of(&plan));
        let mut times = Vec::new();
        for value in 0..WARM_UP + PUTS {
            let began = Instant::now();
            let put = Op::Write { key: "key".to_owned(), value };
            match client.invoke(&put).await {
                Completion::Ok(_) if value >= WARM_UP => times.push(began.elapsed()),
                Completion::Ok(_) => {}
                other => return Err(format!("a put ended as {other:?}").into()),
            }
        }
        cluster.stop_all();
        Ok(times)
    })
}
