//! What the sandbox costs: boot to the first acknowledged write, and a round trip between two nodes, each beside the
//! same thing on plain loopback in the same run.
//!
//! ```text
//! cargo bench -p harness --bench sandbox
//! ```
//!
//! The two sides take turns, and medians are compared: the machine's mood falls on both. A boot is dominated by the
//! first election timeout, which is drawn from the same seeds on both sides.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{Completion, NodeId, Op};
use harness::cluster::Cluster;
use harness::config::{RunConfig, Settings};
use harness::plan::{Plan, plan};
use harness::run_dir::{Purpose, RunDir};
use harness::system::{self, NodeSpec};
use nemesis::net::{self, Endpoint, Network, NetworkOptions, Request, Sandbox};

const NODES: u16 = 5;
const BOOTS: u64 = 7;
const ROUND_TRIPS: usize = 5000;
const ROUND_TRIP_BLOCKS: usize = 6;
const MESSAGE_BYTES: usize = 128;
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
    report("boot to the first acknowledged write", "ms", 1e3, &mut inside, &mut plain);

    let network = sandbox.network(&[NodeId(1), NodeId(2)], NetworkOptions::default())?;
    let (mut inside, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUND_TRIP_BLOCKS {
        inside.extend(round_trips_through_switch(&network)?);
        plain.extend(round_trips(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpStream::connect)?);
    }
    report(&format!("round trip, {MESSAGE_BYTES} bytes"), "µs", 1e6, &mut inside, &mut plain);
    fs::remove_dir_all(directory)?;
    Ok(())
}

fn report(what: &str, unit: &str, scale: f64, inside: &mut [Duration], plain: &mut [Duration]) {
    let median = |times: &mut [Duration]| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (inside, plain) = (median(inside), median(plain));
    println!(
        "{what}: sandbox {:.1} {unit}, loopback {:.1} {unit}, ratio {:.2}",
        inside * scale,
        plain * scale,
        inside / plain
    );
}

fn a_plan(seed: u64) -> Result<Plan, Failure> {
    let config = RunConfig {
        system: "raft-kv".to_owned(),
        nodes: NODES,
        workload: "register".to_owned(),
        faults: Vec::new(),
        time_limit_ms: 1,
        rate: 1,
        concurrency: 1,
        operation_timeout_ms: 2000,
        recovery_limit_ms: 1,
        settings: Settings::default(),
    };
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
    let specs = members.iter().map(|&(id, address)| NodeSpec {
        id,
        address,
        members: members.clone(),
        data_dir: run.data(id),
        trace: run.trace(id),
        seed: plan.streams.nodes ^ u64::from(id.0),
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
    let mut client = system::find("raft-kv")?.client(node, Duration::from_secs(2));
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

fn round_trips_through_switch(network: &Network) -> Result<Vec<Duration>, Failure> {
    let (n1, n2) = (Endpoint::Node(NodeId(1)), Endpoint::Node(NodeId(2)));
    let address = network.address(NodeId(2));
    let listener = network.inside(n2, || TcpListener::bind((address, 0)))??;
    round_trips(listener, |to| network.inside(n1, || TcpStream::connect(to))?)
}

/// One request in flight, no delay by Nagle, a fresh connection.
fn round_trips(
    listener: TcpListener,
    connect: impl FnOnce(std::net::SocketAddr) -> std::io::Result<TcpStream>,
) -> Result<Vec<Duration>, Failure> {
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE_BYTES];
        for _ in 0..ROUND_TRIPS {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut message = [7; MESSAGE_BYTES];
    for _ in 0..ROUND_TRIPS {
        let sent = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(sent.elapsed());
    }
    echo.join().expect("the echo does not panic")?;
    Ok(times)
}
