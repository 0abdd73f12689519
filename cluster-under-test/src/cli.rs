//! The command line of a node: reads it, opens the sockets, and turns errors into words and an exit status.
//!
//! | exit status | means |
//! |---|---|
//! | 0 | told to stop by SIGTERM or SIGINT |
//! | 1 | could not start: the message says why and what to do |
//! | 2 | bad usage |
//! | 74 | the disk failed (`EX_IOERR`); after a failed sync a node must not go on |
//! | 86 | told to die at a failpoint |
//! | 101 | a panic: something that cannot be, was |

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::bugs::{self, BUGS, Bug};
use crate::hash::Hasher;
use crate::node::{self, NodeError, Settings, TICK};
use crate::raft::{Config, NodeId};
use crate::storage::{StorageError, describe};
use crate::transport::Membership;

/// The exit status of a node whose disk failed.
const EXIT_DISK: u8 = 74;
/// Most entries in one message to a follower.
const APPEND_ENTRIES_MAX: usize = 128;
/// Most messages with entries on their way to one follower.
const PIPELINE_MAX: usize = 16;
/// One chunk of a snapshot: small enough that heartbeats pass between two of them.
const SNAPSHOT_CHUNK_BYTES: usize = 64 << 10;

/// A node of raft-kv, a replicated key-value store that speaks etcd's v3 JSON API.
#[derive(Debug, Parser)]
#[command(name = "raft-kv", version)]
struct Cli {
    /// This node's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    id: NodeId,
    /// Nodes, this one included, with the addresses where they listen for each other
    #[arg(long, value_name = "N=ADDRESS,…", value_delimiter = ',', value_parser = parse_peer, required = true)]
    peers: Vec<(NodeId, SocketAddr)>,
    /// The nodes that the cluster was founded with, if not all of --peers; a node that is not among them waits to be
    /// added as a member. The same for all nodes
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    founders: Vec<NodeId>,
    /// Wait to be added, though perhaps a founder: a node that has lost its disk must not lead by what it was once. It
    /// matters only while the disk is empty
    #[arg(long)]
    join: bool,
    /// Where to listen for clients
    #[arg(long, value_name = "ADDRESS")]
    listen_client: SocketAddr,
    /// Where to keep the log and the snapshots
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where to write what Raft does, one JSON line an event; outside of the data directory
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Look into this file for points at which to die (see the documentation of `failpoint`)
    #[arg(long, value_name = "FILE", hide = true)]
    failpoints: Option<PathBuf>,
    /// Ask for votes without a new term first, so that a node that returns does not disturb the leader
    #[arg(long, value_name = "on|off", default_value = "on", hide_possible_values = true)]
    pre_vote: Switch,
    /// A leader without a quorum steps down, and nodes that hear from a leader do not vote
    #[arg(long, value_name = "on|off", default_value = "on", hide_possible_values = true)]
    check_quorum: Switch,
    /// Ask a majority for each read, or trust that no other leader comes up for most of an election timeout after it
    /// was asked; the latter is wrong when clocks run at different speeds. The same for all nodes
    #[arg(long, value_name = "read-index|lease", default_value = "read-index", hide_possible_values = true)]
    reads: Reads,
    /// The share of the election timeout for which a lease lasts
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    lease_margin: f64,
    /// Time between two heartbeats of a leader; counted in ticks of 10 ms
    #[arg(long, value_name = "MS", default_value_t = 100)]
    heartbeat_ms: u64,
    /// A follower that hears nothing for this long, or up to twice as long, campaigns
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    election_ms: u64,
    /// Take a snapshot each time so many entries were applied
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_entries: u64,
    /// How long a client waits for its answer
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    request_timeout_ms: u64,
    /// Seeds the random part of the election timeouts
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Plant a bug: deviate from the Raft paper in one decision
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reads {
    ReadIndex,
    Lease,
}

/// An error for a person: what failed, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    what: String,
    help: String,
}

/// Runs a node with these arguments, the first of which is the program's name. Returns when the node has stopped;
/// a panic of any thread ends the process.
pub fn main_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let settings = match settings(&cli) {
        Ok(settings) => settings,
        Err(complaint) => return complain(&complaint, 2),
    };
    // The runtime catches panics of its tasks: without this, a node could go on without its transport.
    let print_panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print_panic(panic);
        std::process::exit(101);
    }));
    let filter = EnvFilter::try_from_env("RAFT_KV_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    match run(settings, cli.listen_client) {
        Ok(()) => ExitCode::SUCCESS,
        Err((complaint, status)) => complain(&complaint, status),
    }
}

fn complain(complaint: &Complaint, status: u8) -> ExitCode {
    eprintln!("error: {}", complaint.what);
    if !complaint.help.is_empty() {
        eprintln!("  help: {}", complaint.help);
    }
    ExitCode::from(status)
}

fn run(settings: Settings, listen_client: SocketAddr) -> Result<(), (Complaint, u8)> {
    let id = settings.membership.id;
    let listen_peers = settings.membership.peers[&id];
    let data_dir = settings.data_dir.display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        let what = format!("failed to start n{id}: start the runtime: {}", describe(&error));
        (Complaint { what, help: "raise the limit of open files (ulimit -n)".into() }, 1)
    })?;
    runtime.block_on(async {
        let peers = listen(id, "peers", listen_peers, "--peers").await.map_err(|error| (error, 1))?;
        let clients =
            listen(id, "clients", listen_client, "--listen-client").await.map_err(|error| (error, 1))?;
        let bug = settings.bug.map_or(String::new(), |bug| format!(", with the planted bug {}", bug.name));
        tracing::info!(
            "n{id} serves clients on {listen_client} and peers on {listen_peers}, data in {data_dir}{bug}"
        );
        node::run(settings, clients, peers).await.map_err(|error| {
            let what = format!("n{id} cannot go on: {error}");
            let (help, status) = help(&error);
            (Complaint { what, help: help.into() }, status)
        })
    })
}

async fn listen(id: NodeId, whom: &str, address: SocketAddr, flag: &str) -> Result<TcpListener, Complaint> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("failed to start n{id}: listen for {whom} on {address}: {}", describe(&error));
        let help = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another program has this address: stop it, or choose another one with {flag}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need privileges: choose another one with {flag}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("no interface of this machine has this address: correct {flag}")
            }
            _ => format!("correct {flag}"),
        };
        Complaint { what, help }
    })
}

fn help(error: &NodeError) -> (&'static str, u8) {
    let of_io = |source: &io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("free some space and start it again", EXIT_DISK)
        }
        io::ErrorKind::PermissionDenied => ("give this user access to it, or choose another place", 1),
        io::ErrorKind::NotFound => ("create the directory that it is in", 1),
        _ => {
            ("look at the disk and the kernel's log; what was acknowledged is on the other nodes", EXIT_DISK)
        }
    };
    match error {
        NodeError::Storage(StorageError::Io { source, .. }) | NodeError::Trace { source, .. } => {
            of_io(source)
        }
        // These say themselves what to do.
        NodeError::Storage(
            StorageError::Locked { .. }
            | StorageError::Damaged { .. }
            | StorageError::Missing { .. }
            | StorageError::Version { .. },
        ) => ("", 1),
        NodeError::Restore { .. } => ("start the version of raft-kv that wrote it", 1),
        NodeError::Runtime { .. } => ("raise the limits of this process (ulimit -a)", 1),
    }
}

fn settings(cli: &Cli) -> Result<Settings, Complaint> {
    let complaint = |what: String, help: &str| Complaint { what, help: help.into() };
    let mut peers = BTreeMap::new();
    for (id, address) in &cli.peers {
        if peers.values().any(|other| other == address) {
            return Err(complaint(
                format!("--peers: {address} is there twice"),
                "give each node its own address",
            ));
        }
        if peers.insert(*id, *address).is_some() {
            return Err(complaint(
                format!("--peers: node {id} is there twice"),
                "give each node its own number",
            ));
        }
    }
    if !peers.contains_key(&cli.id) {
        let what = format!("--id {}: no such node in --peers", cli.id);
        return Err(complaint(what, "name all nodes in --peers, this one included"));
    }
    if let Some(stranger) = cli.founders.iter().find(|founder| !peers.contains_key(founder)) {
        let what = format!("--founders: there is no node {stranger} in --peers");
        return Err(complaint(what, "name the founders in --peers, with their addresses"));
    }
    let founders: BTreeSet<NodeId> = match cli.founders.as_slice() {
        [] => peers.keys().copied().collect(),
        founders => founders.iter().copied().collect(),
    };
    let tick_ms = TICK.as_millis() as u64;
    if cli.heartbeat_ms < tick_ms {
        let what = format!("--heartbeat-ms {}: shorter than a tick of {tick_ms} ms", cli.heartbeat_ms);
        return Err(complaint(what, "choose 10 or more"));
    }
    if cli.election_ms < 2 * cli.heartbeat_ms {
        let what =
            format!("--election-ms {}: less than two heartbeats of {} ms", cli.election_ms, cli.heartbeat_ms);
        return Err(complaint(what, "with one lost heartbeat a follower would campaign; ten times is usual"));
    }
    let lease_ms = match cli.reads {
        Reads::ReadIndex => None,
        Reads::Lease if cli.check_quorum == Switch::Off => {
            let what = "--reads lease: without CheckQuorum nodes vote while they hear a leader".into();
            return Err(complaint(what, "leave --check-quorum on"));
        }
        Reads::Lease if !(cli.lease_margin > 0.0 && cli.lease_margin <= 1.0) => {
            let what = format!("--lease-margin {}: not a share", cli.lease_margin);
            return Err(complaint(what, "choose more than 0 and at most 1"));
        }
        // A follower counts whole ticks, and the first of them may come at once.
        Reads::Lease => Some(((cli.election_ms - tick_ms) as f64 * cli.lease_margin) as u64),
    };
    let ticks = |flag: &str, ms: u64| {
        u32::try_from(ms / tick_ms).map_err(|_| complaint(format!("{flag} {ms}: too long"), "choose less"))
    };
    Ok(Settings {
        raft: Config {
            id: cli.id,
            voters: founders.iter().copied().collect(),
            joins: cli.join,
            lease_ms,
            heartbeat_ticks: ticks("--heartbeat-ms", cli.heartbeat_ms)?,
            election_ticks: ticks("--election-ms", cli.election_ms)?,
            pre_vote: cli.pre_vote == Switch::On,
            check_quorum: cli.check_quorum == Switch::On,
            append_entries_max: APPEND_ENTRIES_MAX,
            pipeline_max: PIPELINE_MAX,
            snapshot_chunk_bytes: SNAPSHOT_CHUNK_BYTES,
            // A follower that was away for less than half the time between two snapshots needs none.
            entries_kept: cli.snapshot_entries / 2,
            seed: cli.seed,
        },
        bug: cli.bug.as_deref().map(find_bug).transpose()?,
        membership: Membership { id: cli.id, cluster: cluster_id(&peers, &founders), peers, founders },
        election_timeout: Duration::from_millis(cli.election_ms),
        data_dir: cli.data_dir.clone(),
        trace: cli.trace.clone(),
        failpoints: cli.failpoints.clone(),
        snapshot_entries: cli.snapshot_entries,
        request_timeout: Duration::from_millis(cli.request_timeout_ms),
    })
}

/// The same for all nodes that were started with the same founders. Who joins later makes no other cluster.
fn cluster_id(peers: &BTreeMap<NodeId, SocketAddr>, founders: &BTreeSet<NodeId>) -> u64 {
    peers
        .iter()
        .filter(|(id, _)| founders.contains(id))
        .fold(Hasher::default(), |hasher, (id, address)| {
            hasher.number(*id).field(address.to_string().as_bytes())
        })
        .finish()
}

fn find_bug(name: &str) -> Result<&'static Bug, Complaint> {
    bugs::find(name).ok_or_else(|| {
        let nearest = BUGS
            .iter()
            .min_by_key(|bug| strsim::damerau_levenshtein(bug.name, name))
            .map_or("", |bug| bug.name);
        let names: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
        Complaint {
            what: format!("--bug {name}: no such bug; did you mean {nearest}?"),
            help: format!("the bugs are {}", names.join(", ")),
        }
    })
}

fn parse_peer(text: &str) -> Result<(NodeId, SocketAddr), String> {
    let (id, address) = text.split_once('=').ok_or("N=ADDRESS is needed, such as 1=10.0.0.1:2380")?;
    let id: NodeId = id.parse().map_err(|error| format!("number of the node {id:?}: {error}"))?;
    if id == 0 {
        return Err("nodes are counted from 1".into());
    }
    let address =
        address.parse().map_err(|error| format!("address {address:?}: {error}, IP:PORT is needed"))?;
    Ok((id, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "--id 1 --peers 1=127.0.0.1:1,2=127.0.0.1:2 --listen-client 127.0.0.1:3 --data-dir d";

    fn parse(args: &str) -> Result<Settings, String> {
        let args = std::iter::once("raft-kv").chain(args.split(' '));
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        settings(&cli).map_err(|complaint| complaint.what)
    }

    #[test]
    fn the_defaults_are_a_heartbeat_of_100_ms_and_an_election_timeout_of_1_s() {
        let settings = parse(GOOD).expect("good usage");
        assert_eq!((settings.raft.heartbeat_ticks, settings.raft.election_ticks), (10, 100));
        assert!(settings.raft.pre_vote && settings.raft.check_quorum);
        assert_eq!(settings.raft.voters, [1, 2]);
        assert_eq!(settings.raft.lease_ms, None);
        let leases =
            |more: &str| parse(&format!("{GOOD} --reads lease{more}")).map(|settings| settings.raft.lease_ms);
        assert_eq!(leases(""), Ok(Some(891)), "0.9 of the election timeout less a tick");
        assert!(leases(" --check-quorum off").is_err() && leases(" --lease-margin 1.5").is_err());
        assert!(!parse(&format!("{GOOD} --pre-vote off")).expect("good usage").raft.pre_vote);
    }

    #[test]
    fn bad_usage_is_named() {
        let stranger = format!("{GOOD} --founders 1,7");
        let error = |args: &str| parse(args).err().expect("bad usage is refused");
        let same_id = GOOD.replace("2=", "1=");
        assert_eq!(error(&stranger), "--founders: there is no node 7 in --peers");
        assert_eq!(error(&same_id), "--peers: node 1 is there twice");
        assert_eq!(error(&GOOD.replace("0.1:2", "0.1:1")), "--peers: 127.0.0.1:1 is there twice");
        assert_eq!(error(&GOOD.replace("--id 1", "--id 3")), "--id 3: no such node in --peers");
        assert_eq!(
            error(&format!("{GOOD} --election-ms 150")),
            "--election-ms 150: less than two heartbeats of 100 ms"
        );
        assert_eq!(
            error(&format!("{GOOD} --heartbeat-ms 9")),
            "--heartbeat-ms 9: shorter than a tick of 10 ms"
        );
        assert!(error(&GOOD.replace("2=127.0.0.1", "2=localhost")).contains("IP:PORT is needed"));
        assert_eq!(
            error(&format!("{GOOD} --bug stale-raed")),
            "--bug stale-raed: no such bug; did you mean stale-read?"
        );
    }

    #[test]
    fn nodes_with_other_peers_are_another_cluster() {
        let cluster = |args: &str| parse(args).expect("good usage").membership.cluster;
        assert_eq!(cluster(GOOD), cluster(&GOOD.replace("--id 1", "--id 2")));
        assert_ne!(cluster(GOOD), cluster(&GOOD.replace("0.1:2", "0.1:9")));
        let joining = GOOD.replace("2=127.0.0.1:2", "2=127.0.0.1:2,3=127.0.0.1:9 --founders 1,2");
        assert_eq!(cluster(GOOD), cluster(&joining), "who joins later makes no other cluster");
    }
}
