//! raft-kv, the cluster of this project: a node is a hidden subcommand of the harness itself.

use std::os::unix::process::CommandExt;
use std::process::Command;

use cluster_under_test::bugs::BUGS;
use cluster_under_test::failpoint::{EXIT_FAILPOINT, FAILPOINTS, Failpoint, USUAL};
use cluster_under_test::rules::{Paper, Rules};

use super::etcd_gateway::EtcdGateway;
use super::etcd_members::EtcdMembers;
use super::{Client, ClientOptions, Members, NodeSpec, Observe, Points, System};
use crate::config::{Reads, RunConfig, Settings};
use crate::error::Result;
use crate::names;

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// The rules that raft-kv follows with this bug planted, or the paper's.
pub fn rules(bug: Option<&str>) -> Result<&'static dyn Rules> {
    match bug {
        None => Ok(&Paper),
        Some(name) => Ok(names::find("bug", name, BUGS.iter().copied(), |bug| bug.name)?.rules),
    }
}

fn reads(reads: Reads) -> &'static str {
    match reads {
        // What clients do not ask for is served as usual.
        Reads::ReadIndex | Reads::Serializable => "read-index",
        Reads::Lease => "lease",
    }
}

const ALL_POINTS: [&str; FAILPOINTS.len()] = point_names(FAILPOINTS);
const USUAL_POINTS: [&str; USUAL.len()] = point_names(USUAL);

const fn point_names<const N: usize>(points: &[&'static Failpoint]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = points[at].name;
        at += 1;
    }
    names
}

/// The adapter.
pub struct RaftKv;

impl System for RaftKv {
    fn name(&self) -> &'static str {
        "raft-kv"
    }

    fn about(&self) -> &'static str {
        "this project's Raft key-value store, in which bugs can be planted by name"
    }

    fn check(&self, config: &RunConfig) -> Result<()> {
        rules(config.settings.bug.as_deref()).map(|_| ())
    }

    fn command(&self, node: &NodeSpec, settings: &Settings) -> Command {
        let on_off = |on: bool| if on { "on" } else { "off" };
        let peers = node
            .members
            .iter()
            .map(|(id, address)| format!("{}={address}:{PEER_PORT}", id.0))
            .collect::<Vec<_>>()
            .join(",");
        // The running binary itself, also when it was replaced on disk by a build meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("harness")
            .arg("raft-kv")
            .args(["--id", &node.id.0.to_string(), "--peers", &peers])
            .args(["--listen-client", &format!("{}:{CLIENT_PORT}", node.address)])
            .arg("--data-dir")
            .arg(&node.data_dir)
            .arg("--trace")
            .arg(&node.trace)
            .args(["--pre-vote", on_off(settings.pre_vote)])
            .args(["--check-quorum", on_off(settings.check_quorum)])
            .args(["--heartbeat-ms", &settings.heartbeat_ms.to_string()])
            .args(["--election-ms", &settings.election_ms.to_string()])
            .args(["--snapshot-entries", &settings.snapshot_entries.to_string()])
            .args(["--reads", reads(settings.reads)])
            .args(["--lease-margin", &format!("{:.2}", f64::from(settings.lease_margin_percent) / 100.0)])
            .args(["--seed", &node.seed.to_string()]);
        if let Some(path) = &node.failpoints {
            command.arg("--failpoints").arg(path);
        }
        if node.joins {
            command.arg("--join");
        }
        if let Some(bug) = &settings.bug {
            command.args(["--bug", bug]);
        }
        command
    }

    fn client(&self, node: &NodeSpec, options: ClientOptions) -> Box<dyn Client> {
        Box::new(EtcdGateway::new((node.address, CLIENT_PORT).into(), options))
    }

    fn observe(&self, node: &NodeSpec) -> Observe {
        Observe::Trace(node.trace.clone())
    }

    fn failpoints(&self) -> Option<Points> {
        Some(Points { all: &ALL_POINTS, usual: &USUAL_POINTS, exit_status: EXIT_FAILPOINT })
    }

    fn members(&self) -> Option<&'static dyn Members> {
        Some(&EtcdMembers { client_port: CLIENT_PORT, peer_port: PEER_PORT })
    }

    fn http_port(&self) -> Option<u16> {
        Some(CLIENT_PORT)
    }
}
