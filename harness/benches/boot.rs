//! What the sandbox costs at boot: the time to the first acknowledged write, beside the same nodes as plain processes on
//! loopback in the same run.
//!
//! ```text
//! cargo bench -p harness --bench boot
//! ```
//!
//! The two sides take turns and draw their election timeouts from the same seeds; the first election is most of a boot.
//! What the switch costs a round trip is measured by `cargo bench -p nemesis --bench round_trip`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use checkers::history::{Completion, NodeId, Op};
use checkers::model::Object;
use harness::cluster::Cluster;
use harness::config::{Reads, RunConfig, Settings};
use harness::plan::{Plan, plan};
use harness::run_dir::{Purpose, RunDir};
use harness::system::{self, ClientOptions, NodeSpec};
use nemesis::net::{self, Request, Sandbox};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const NODES: u16 = 5;
const BOOTS: u64 = 7;
const TIME_LIMIT: Duration = Duration::from_secs(60);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // A node of the cluster is this binary too.
    if std::env::args().nth(1).as_deref() == Some("raft-kv") {
        return cluster_under_test::cli::main_from(std::env::args_os().skip(1));
    }
    match net::enter(&Request::default()) {
        Ok(sandbox) => match measure(&sandbox) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error}\n  help: {}", error.help());
            ExitCode::FAILURE
        }
    }
}

fn measure(sandbox: &Sandbox) -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("sandbox-bench-{}", std::process::id()));
    let (mut inside, mut plain) = (Vec::new(), Vec::new());
    for seed in 1..=BOOTS {
        inside.push(boot_in_sandbox(sandbox, &directory, seed)?);
        plain.push(boot_on_loopback(&directory, seed)?);
    }
    report(&mut inside, &mut plain);
    fs::remove_dir_all(directory)?;
    Ok(())
}

fn report(inside: &mut [Duration], plain: &mut [Duration]) {
    let median = |times: &mut [Duration]| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (inside, plain) = (median(inside), median(plain));
    println!(
        "boot of {NODES} nodes to the first acknowledged write, median of {BOOTS}: sandbox {:.0} ms, loopback {:.0} ms, ratio {:.2}",
        inside * 1e3,
        plain * 1e3,
        inside / plain
    );
}

fn a_plan(seed: u64) -> Result<Plan, Failure> {
    let config = RunConfig::idle("raft-kv", NODES, Settings::default());
    Ok(plan(&config, seed)?)
}

fn boot_in_sandbox(sandbox: &Sandbox, directory: &Path, seed: u64) -> Result<Duration, Failure> {
    let plan = a_plan(seed)?;
    let run = RunDir::create(directory, &plan, Purpose::Up)?;
    let began = Instant::now();
    let network = harness::run::network(&plan, &run, sandbox, None)?;
    let cluster = Cluster::new(&plan, &run, network)?;
    cluster.start_all()?;
    first_write(cluster.spec(NodeId(1)), began)
}

/// The same nodes as plain processes, each on a loopback address of its own.
fn boot_on_loopback(directory: &Path, seed: u64) -> Result<Duration, Failure> {
    let plan = a_plan(seed)?;
    let run = RunDir::create(directory, &plan, Purpose::Up)?;
    let members = (1..=NODES)
        .map(|number| (NodeId(number), Ipv4Addr::new(127, 0, 77, u8::try_from(number).expect("few nodes"))))
        .collect::<Vec<_>>();
    let system = system::find(&plan.system)?;
    // As the sandbox draws them.
    let mut seeds = Pcg64Mcg::seed_from_u64(plan.streams.nodes);
    let specs = members.iter().map(|&(id, address)| NodeSpec {
        id,
        address,
        members: members.clone(),
        data_dir: run.data(id),
        trace: run.trace(id),
        failpoints: None,
        joins: false,
        seed: seeds.next_u64(),
    });
    let specs = specs.collect::<Vec<_>>();
    let began = Instant::now();
    let mut nodes = Nodes::default();
    for spec in &specs {
        let log = |name: &str| -> std::io::Result<Stdio> {
            let path: PathBuf = run.node(spec.id).join(name);
            Ok(fs::File::create(path)?.into())
        };
        let mut command = system.command(spec, &plan.settings);
        command.stdin(Stdio::null()).stdout(log("stdout.log")?).stderr(log("stderr.log")?);
        nodes.0.push(command.spawn()?);
    }
    first_write(&specs[0], began)
}

#[derive(Default)]
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn first_write(node: &NodeSpec, began: Instant) -> Result<Duration, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options =
        ClientOptions { timeout: Duration::from_secs(2), reads: Reads::ReadIndex, object: Object::Register };
    let mut client = system::find("raft-kv")?.client(node, options);
    let write = Op::Write { key: "first".to_owned(), value: 1 };
    runtime.block_on(async {
        loop {
            if let Completion::Ok(_) = client.invoke(&write).await {
                return Ok(began.elapsed());
            }
            if began.elapsed() > TIME_LIMIT {
                return Err("no write was acknowledged".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}
