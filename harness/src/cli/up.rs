//! `harness up`: a cluster to play with, until Ctrl-C.
//!
//! The nodes live in network namespaces that no shell can reach, so each gets a door: a listener on the loopback
//! address of the machine, opened before the sandbox is entered, whose connections are passed on to the node.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use nemesis::net::{self, Request};
use tokio::net::{TcpListener, TcpStream};

use super::cluster_args::ClusterArgs;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::plan::plan;
use crate::report::Progress;
use crate::run;
use crate::run_dir::{Purpose, RunDir};
use crate::stop::Stop;
use crate::system;

/// How often the leader is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where n1 is reached; n2 is one port further, and so on
    #[arg(long, default_value = "127.0.0.1:12379", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Seeds the election timeouts
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Args {
    fn doors(&self) -> Result<Vec<SocketAddr>> {
        let IpAddr::V4(address) = self.listen.ip() else {
            return Err(Error::usage(format!("--listen {}: give an IPv4 address", self.listen)));
        };
        (0..self.cluster.nodes(None))
            .map(|offset| {
                let port = self.listen.port().checked_add(offset).ok_or_else(|| {
                    Error::usage(format!(
                        "--listen {}: no ports left for {} nodes",
                        self.listen,
                        self.cluster.nodes(None)
                    ))
                })?;
                Ok((address, port).into())
            })
            .collect()
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let plan = plan(
        &RunConfig::idle(&args.cluster.system, args.cluster.nodes(None), args.cluster.settings()),
        args.seed.unwrap_or_else(super::fresh_seed),
    )?;
    let http_port = system::find(&plan.system)?
        .http_port()
        .ok_or_else(|| Error::usage(format!("{} has no port that curl can use", plan.system)))?;
    let request = Request { tun: args.cluster.tun.clone(), host_listeners: args.doors()? };
    let mut sandbox = net::enter(&request).map_err(|error| super::refused(&error))?;
    let doors = std::mem::take(&mut sandbox.host_listeners);

    let directory = RunDir::create(&args.cluster.results, &plan, Purpose::Up)?;
    super::test::log_to(&directory)?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let stop = Stop::default();
        stop.on_signals().map_err(|error| Error::harness(format!("failed to watch for signals: {error}")))?;
        let progress = Progress::new();
        let network = run::network(&plan, &directory, &sandbox, None)?;
        let cluster = run::boot(&plan, &directory, network, &progress, &stop).await?;
        for (node, (door, address)) in
            cluster.node_ids().into_iter().zip(doors.into_iter().zip(&request.host_listeners))
        {
            let listener =
                door.set_nonblocking(true).and_then(|()| TcpListener::from_std(door)).map_err(|error| {
                    Error::harness(format!("failed to open the door {address} of {node}: {error}"))
                })?;
            tokio::spawn(serve(listener, (cluster.address(node), http_port).into()));
            println!("  {node}       http://{address}");
        }
        println!("  try      curl -s http://{}/v3/maintenance/status -d '{{}}'", args.listen);
        println!(
            "           curl -s http://{}/v3/kv/put -d '{{\"key\":\"aGk=\",\"value\":\"dGhlcmU=\"}}'",
            args.listen
        );
        println!("           curl -s http://{}/v3/kv/range -d '{{\"key\":\"aGk=\"}}'", args.listen);
        println!("  logs     {}", super::typed(directory.path()));
        println!("  stop     Ctrl-C");

        let mut shown = cluster.observer().leader();
        while stop.sleep(LOOK_PERIOD).await {
            for death in cluster.deaths() {
                println!("  died     {}: {}\n{}", death.node, death.status, death.log.join("\n"));
            }
            let leader = cluster.observer().leader();
            if let Some((node, term)) = leader
                && leader != shown
            {
                println!("  leader   {node} leads term {term}");
                shown = leader;
            }
        }
        cluster.stop_all();
        Ok(ExitCode::SUCCESS)
    })
}

/// Passes each connection on to the node.
async fn serve(door: TcpListener, node: SocketAddr) {
    loop {
        let Ok((mut outside, _)) = door.accept().await else {
            // Out of descriptors: the connections that are open will end.
            tokio::time::sleep(LOOK_PERIOD).await;
            continue;
        };
        tokio::spawn(async move {
            // A node that is down closes the door in the caller's face, as it would without a door.
            if let Ok(mut inside) = TcpStream::connect(node).await {
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}
