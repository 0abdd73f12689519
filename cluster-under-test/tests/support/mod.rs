//! A cluster of real processes on loopback, and a client of a few lines.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster_under_test::trace::Line;
use serde_json::{Value, json};

/// Far more than anything takes; a test that needs it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `probe` gives something.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address that no other test uses: the loopback network has 16 million of them, so each test process takes its
/// own and counts ports. Nothing else binds there, not even the kernel for an outgoing connection.
fn free_address() -> SocketAddr {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low.max(1));
    SocketAddr::new(IpAddr::V4(address), NEXT_PORT.fetch_add(1, Ordering::Relaxed))
}

/// One node and where its things are.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) client: SocketAddr,
    peers: String,
    pub(crate) dir: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    dir: PathBuf,
}

impl Cluster {
    /// Boots nodes and waits for a leader.
    pub(crate) fn boot(name: &str, nodes: u64, more: &[&str]) -> Self {
        let cluster = Self::start(name, nodes, more);
        cluster.leader();
        cluster
    }

    /// Boots nodes.
    pub(crate) fn start(name: &str, nodes: u64, more: &[&str]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let peers: Vec<String> = (1..=nodes).map(|id| format!("{id}={}", free_address())).collect();
        let nodes = (1..=nodes)
            .map(|id| {
                let node_dir = dir.join(format!("n{id}"));
                std::fs::create_dir_all(&node_dir).unwrap();
                let client = free_address();
                let trace = node_dir.join("trace.jsonl");
                let mut arguments: Vec<String> = [
                    ("--id", id.to_string()),
                    ("--peers", peers.join(",")),
                    ("--listen-client", client.to_string()),
                    ("--trace", trace.to_str().unwrap().to_owned()),
                    ("--failpoints", node_dir.join("failpoints").to_str().unwrap().to_owned()),
                    ("--heartbeat-ms", "50".into()),
                    ("--election-ms", "300".into()),
                ]
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value])
                .collect();
                arguments.extend(more.iter().map(|&argument| argument.to_owned()));
                Node { id, client, peers: peers.join(","), dir: node_dir, arguments, process: None }
            })
            .collect();
        let mut cluster = Self { nodes, dir };
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[usize::try_from(id).unwrap() - 1]
    }

    /// The leader of the highest term among the running nodes, once a majority agrees.
    pub(crate) fn leader(&self) -> u64 {
        until("a leader that a majority knows", || {
            let statuses: Vec<Value> = self.nodes.iter().filter_map(Node::status).collect();
            let leader = statuses.iter().find(|status| status["isLeader"] == true)?;
            let agree = statuses.iter().filter(|status| {
                status["raftTerm"] == leader["raftTerm"] && status["leader"] == leader["leader"]
            });
            let majority = agree.count() > self.nodes.len() / 2;
            majority.then(|| leader["leader"].as_str().unwrap().parse().unwrap())
        })
    }

    /// Where a node listens for its peers.
    pub(crate) fn peer(&self, id: u64) -> String {
        let prefix = format!("{id}=");
        let mut peers = self.nodes[0].peers.split(',');
        peers.find_map(|peer| peer.strip_prefix(&prefix)).expect("it is one of the nodes").to_owned()
    }

    pub(crate) fn others(&self, id: u64) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).filter(|other| *other != id).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        if std::thread::panicking() {
            eprintln!("the nodes' files are in {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Node {
    pub(crate) fn command(&self) -> Command {
        self.command_in(&self.dir.join("data"))
    }

    /// As if it was started with another data directory.
    pub(crate) fn command_in(&self, data_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
        command.args(&self.arguments).arg("--data-dir").arg(data_dir);
        command
    }

    /// Arms failpoints, or with an empty text disarms all.
    pub(crate) fn arm(&self, text: &str) {
        let beside = self.dir.join("failpoints.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.dir.join("failpoints")).unwrap();
    }

    pub(crate) fn start(&mut self) {
        self.start_as(self.command());
    }

    /// Starts it by a command of one's own.
    pub(crate) fn start_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "n{} runs already", self.id);
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("stderr.log")).unwrap();
        self.process = Some(command.stderr(log).stdin(Stdio::null()).spawn().unwrap());
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// SIGKILL, if it runs.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM; returns how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.as_ref().unwrap().id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.end()
    }

    /// Waits until it ends by itself; returns how it ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        // It stays ours until it has ended: a test that fails here must not leave it behind.
        let process = self.process.as_mut().unwrap();
        let status = until("the end of the node", || process.try_wait().unwrap());
        self.process = None;
        status
    }

    /// What it said so far, over all its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("stderr.log")).unwrap()
    }

    /// The lines of its trace, each of which must be one. A line that is just being written does not count yet.
    pub(crate) fn trace(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(self.dir.join("trace.jsonl")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    pub(crate) fn status(&self) -> Option<Value> {
        self.post("/v3/maintenance/status", &json!({})).filter(|(code, _)| *code == 200).map(|(_, body)| body)
    }

    /// `None` if there was no whole answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.http("POST", path, &body.to_string())
    }

    /// Sends a request without a content type, as the shortest of clients would.
    pub(crate) fn http(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect_timeout(&self.client, DEADLINE).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.client,
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some((code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))))
    }

    /// Puts until it is acknowledged. Only for keys of which it does not matter how often they are put.
    pub(crate) fn put(&self, key: &str, value: &str) -> Value {
        let body = json!({ "key": BASE64.encode(key), "value": BASE64.encode(value) });
        until("an acknowledged put", || match self.post("/v3/kv/put", &body) {
            Some((200, answer)) => Some(answer),
            _ => None,
        })
    }

    /// The value, linearizable.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let body = json!({ "key": BASE64.encode(key) });
        let answer = until("an answered read", || match self.post("/v3/kv/range", &body) {
            Some((200, answer)) => Some(answer),
            _ => None,
        });
        Some(text(answer.get("kvs")?[0]["value"].as_str().unwrap()))
    }
}

/// Base64 as text.
pub(crate) fn text(encoded: &str) -> String {
    String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap()
}

/// Text as base64.
pub(crate) fn encode(text: &str) -> String {
    BASE64.encode(text)
}
