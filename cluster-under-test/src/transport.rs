//! Messages between nodes over TCP.
//!
//! The rule: sending never waits. Raft tolerates the loss of any message, so a message that cannot go now is
//! dropped and counted; one that was kept until a partition heals would only delay the newer ones behind it.
//!
//! Each node opens one connection to each peer and only sends on it; what it receives comes over the peer's
//! connection. A connection begins with a [`Hello`], so that a node of another cluster, another version, or one
//! that was given a wrong address is turned away instead of being misunderstood. Then come [`Envelope`]s.
//!
//! ```text
//! frame   0  u32 length of the body, little-endian      4  u32 CRC-32 of the body      8  u32 CRC-32 of bytes 0 to 7
//!        12  the body: postcard of a Hello (the first) or an Envelope
//! ```
//!
//! TCP's checksum is weak, and not every network repairs it honestly. A frame that fails its own ends the connection: what
//! is in it is lost, as any message may be. The header has one for itself, because a wrong length would otherwise be
//! waited for.
//!
//! A cut link leaves a connection that looks alive. The kernel gives it up when sent data stays unacknowledged
//! for [`unacknowledged_max`], and from then on a new connection is tried about once a second, so that nodes
//! find each other soon after a heal instead of after a retransmission that has backed off to minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::raft::{Envelope, Members, NodeId};
use crate::storage::describe;

/// The version of frames and messages.
const FORMAT: u32 = 2;
/// Messages that wait for one peer. Beyond, the newest is dropped: the peer needs the older ones first.
const QUEUE_MESSAGES_MAX: usize = 1024;
/// Received messages that wait for the node. Beyond, connections are not read, and TCP slows the peers.
const RECEIVED_MESSAGES_MAX: usize = 1024;
/// A longer frame is not ours. Far above the largest `Append`: its entries are bounded in number and each came
/// in a request of bounded size.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Length and checksums before the body of a frame.
const HEADER_BYTES: usize = 12;
/// What is written at once when many messages wait.
const WRITE_BYTES: usize = 256 << 10;
/// How long a connection may take to be made. The kernel repeats a lost SYN only after a second: a new attempt
/// is as good.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a new connection may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// The waits between refused attempts double from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    format: u32,
    cluster: u64,
    from: NodeId,
    to: NodeId,
}

/// Who a node is, among whom.
#[derive(Clone, Debug)]
pub struct Membership {
    /// This node.
    pub id: NodeId,
    /// Where nodes listen for their peers, this node included, whether they are members or not.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// Those of them that the cluster began with.
    pub founders: BTreeSet<NodeId>,
    /// The same in all nodes of a cluster.
    pub cluster: u64,
}

/// The connections of one node. Dropping it closes them.
#[derive(Debug)]
pub struct Transport {
    membership: Membership,
    unacknowledged_max: Duration,
    rng: Pcg64,
    peers: BTreeMap<NodeId, Peer>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Peer {
    queue: mpsc::Sender<Envelope>,
    dropped: u64,
}

/// Sent data that stays unacknowledged for longer than this means that the link is cut. Two election timeouts:
/// a link that is only slow enough for that has lost its leader anyway.
#[must_use]
pub fn unacknowledged_max(election_timeout: Duration) -> Duration {
    (2 * election_timeout).max(Duration::from_secs(2))
}

impl Transport {
    /// Starts to listen and to connect; received messages come out of the queue.
    #[must_use]
    pub fn start(
        membership: &Membership,
        listener: TcpListener,
        election_timeout: Duration,
        rng: Pcg64,
    ) -> (Self, mpsc::Receiver<Envelope>) {
        let (received, receiver) = mpsc::channel(RECEIVED_MESSAGES_MAX);
        let mut transport = Self {
            membership: membership.clone(),
            unacknowledged_max: unacknowledged_max(election_timeout),
            rng,
            peers: BTreeMap::new(),
            tasks: vec![tokio::spawn(accept(listener, membership.clone(), received))],
        };
        // A node that joins does not know yet who its leader will be.
        let joins = !membership.founders.contains(&membership.id);
        let early = membership.peers.keys().filter(|id| joins || membership.founders.contains(id));
        early.for_each(|&to| transport.connect(to));
        (transport, receiver)
    }

    /// These may be sent to from now on. An empty address is one that this node was started with.
    pub fn learn(&mut self, members: &Members) {
        for (&id, member) in &members.0 {
            if !member.address.is_empty() {
                match member.address.parse() {
                    Ok(address) => drop(self.membership.peers.insert(id, address)),
                    Err(error) => {
                        tracing::warn!("n{id} cannot be reached at {:?}: {error}", member.address);
                    }
                }
            }
            self.connect(id);
        }
    }

    /// Begins to connect to a node whose address is known. Its connection stays: a removed node may still have to be
    /// told, and may come back.
    fn connect(&mut self, to: NodeId) {
        let Some(&address) = self.membership.peers.get(&to) else { return };
        if to == self.membership.id || self.peers.contains_key(&to) {
            return;
        }
        let (queue, waiting) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let Membership { id, cluster, .. } = self.membership;
        let sender = Sender {
            hello: Hello { format: FORMAT, cluster, from: id, to },
            address,
            unacknowledged_max: self.unacknowledged_max,
            waiting,
            // Without it, nodes that lost each other at one moment would try again at one moment.
            backoff_scale: self.rng.random_range(0.8..1.2),
        };
        self.tasks.push(tokio::spawn(sender.run()));
        self.peers.insert(to, Peer { queue, dropped: 0 });
    }

    /// Sends a message if that is possible without waiting.
    pub fn send(&mut self, envelope: Envelope) {
        let to = envelope.to;
        self.connect(to);
        let Some(peer) = self.peers.get_mut(&to) else {
            // A candidate or leader that was added after this node last heard of the members: it asks again.
            tracing::debug!("the address of n{to} is not known yet");
            return;
        };
        if peer.queue.try_send(envelope).is_err() {
            peer.dropped += 1;
            // The 1st, 2nd, 4th, 8th, …: enough to notice, too few to fill a disk.
            if peer.dropped.is_power_of_two() {
                tracing::warn!("messages to n{to} come faster than they go: {} dropped so far", peer.dropped);
            }
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The connection to one peer, over and over.
struct Sender {
    hello: Hello,
    address: SocketAddr,
    unacknowledged_max: Duration,
    waiting: mpsc::Receiver<Envelope>,
    backoff_scale: f64,
}

impl Sender {
    async fn run(mut self) {
        let to = self.hello.to;
        let mut refusals = 0;
        // A peer that is away for long is one line in the log, not one for each attempt.
        let mut away = false;
        let mut dropped = 0;
        loop {
            let attempt = connect(self.address, self.unacknowledged_max);
            let error = match discarding(&mut self.waiting, &mut dropped, attempt).await {
                Ok(stream) => {
                    if away {
                        tracing::info!("connected to n{to} again, {dropped} messages dropped meanwhile");
                    }
                    (away, dropped) = (false, 0);
                    let connected = Instant::now();
                    let Err(error) = self.converse(stream).await else { return };
                    // A peer that hangs up at once has turned this node away, and will again.
                    if connected.elapsed() > BACKOFF.1 {
                        refusals = 0;
                    }
                    error
                }
                Err(error) => error,
            };
            if !away {
                let reason = describe(&error);
                tracing::info!("no connection to n{to} at {}: {reason}; trying again", self.address);
                away = true;
            }
            // A timeout was waiting enough.
            if error.kind() != io::ErrorKind::TimedOut {
                let backoff = BACKOFF.1.min(BACKOFF.0 * 2_u32.saturating_pow(refusals));
                refusals += 1;
                let pause = sleep(backoff.mul_f64(self.backoff_scale));
                discarding(&mut self.waiting, &mut dropped, pause).await;
            }
        }
    }

    /// Sends what waits until the connection breaks, or, without an error, until the node stops.
    async fn converse(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let (mut reader, mut writer) = stream.split();
        let mut buffer = Vec::new();
        encode(&self.hello, &mut buffer);
        let mut end = [0];
        loop {
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                // A peer that is paused takes nothing once its buffer is full, and that is no error to the kernel.
                let written = timeout(self.unacknowledged_max, writer.write(rest))
                    .await
                    .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))??;
                rest = &rest[written..];
            }
            buffer.clear();
            tokio::select! {
                envelope = self.waiting.recv() => match envelope {
                    Some(envelope) => encode(&envelope, &mut buffer),
                    None => return Ok(()),
                },
                // The peer never sends here, so this ends only with the connection: how a kill is noticed at once.
                _ = reader.read(&mut end) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed by the peer"));
                }
            }
            while buffer.len() < WRITE_BYTES
                && let Ok(envelope) = self.waiting.try_recv()
            {
                encode(&envelope, &mut buffer);
            }
        }
    }
}

async fn connect(address: SocketAddr, unacknowledged_max: Duration) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    stream.set_nodelay(true)?;
    let milliseconds = u32::try_from(unacknowledged_max.as_millis()).unwrap_or(u32::MAX);
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::TcpUserTimeout, &milliseconds)?;
    Ok(stream)
}

/// What is said to a peer that is away is dropped: by the time that it is back, the protocol has repeated, or will
/// repeat, what still matters.
async fn discarding<T>(
    waiting: &mut mpsc::Receiver<Envelope>,
    dropped: &mut u64,
    until: impl Future<Output = T>,
) -> T {
    tokio::pin!(until);
    loop {
        tokio::select! {
            output = &mut until => return output,
            Some(_) = waiting.recv() => *dropped += 1,
        }
    }
}

fn encode<T: Serialize>(value: &T, buffer: &mut Vec<u8>) {
    let frame = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    *buffer = postcard::to_extend(value, std::mem::take(buffer)).expect("messages encode into memory");
    let (header, body) = buffer[frame..].split_at_mut(HEADER_BYTES);
    let length = u32::try_from(body.len()).expect("a message is far smaller than 4 GiB");
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = crc32fast::hash(&header[..8]);
    header[8..].copy_from_slice(&checksum.to_le_bytes());
}

async fn accept(listener: TcpListener, membership: Membership, received: mpsc::Sender<Envelope>) {
    // The connection from each peer. A newer one replaces it: the peer has given the older one up, and what is
    // still in that one is out of date.
    let mut connections: BTreeMap<NodeId, JoinHandle<()>> = BTreeMap::new();
    let (greeted, mut greetings) = mpsc::channel::<(NodeId, TcpStream)>(16);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    tokio::spawn(greet(stream, address, membership.clone(), greeted.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, for instance: without a wait this loop would spin.
                    tracing::warn!("accept a peer's connection: {error}");
                    sleep(BACKOFF.0).await;
                }
            },
            Some((from, stream)) = greetings.recv() => {
                let received = received.clone();
                let to = membership.id;
                let connection = tokio::spawn(async move {
                    if let Err(error) = listen(stream, from, to, &received).await {
                        tracing::info!("connection from n{from} ended: {error}");
                    }
                });
                if let Some(older) = connections.insert(from, connection) {
                    older.abort();
                }
            }
        }
    }
}

async fn greet(
    mut stream: TcpStream,
    address: SocketAddr,
    membership: Membership,
    greeted: mpsc::Sender<(NodeId, TcpStream)>,
) {
    match timeout(HELLO_TIMEOUT, read_hello(&mut stream, &membership)).await {
        Ok(Ok(from)) => {
            // The node is stopping if nobody listens.
            let _ = greeted.send((from, stream)).await;
        }
        Ok(Err(error)) => tracing::warn!("turned away a connection from {address}: {error}"),
        Err(_) => tracing::warn!("turned away a connection from {address}: it did not say who it is"),
    }
}

async fn read_hello(stream: &mut TcpStream, membership: &Membership) -> io::Result<NodeId> {
    // Read before anything is believed: a stray client must not make us allocate what it pleases.
    const HELLO_BYTES_MAX: usize = 64;
    let bytes = read_frame(stream, HELLO_BYTES_MAX).await?;
    let hello: Hello = postcard::from_bytes(&bytes).map_err(invalid)?;
    let Hello { format, cluster, from, to } = hello;
    if format != FORMAT {
        return Err(invalid(format!("n{from} speaks format version {format}, this node version {FORMAT}")));
    }
    if cluster != membership.cluster {
        return Err(invalid(format!("n{from} was started with other founders")));
    }
    // Whether it is a member is for the protocol to say: this node may be behind.
    if to != membership.id || from == to {
        return Err(invalid(format!("n{from} looks for n{to}, this is n{}", membership.id)));
    }
    Ok(from)
}

async fn listen(
    mut stream: TcpStream,
    from: NodeId,
    to: NodeId,
    received: &mpsc::Sender<Envelope>,
) -> io::Result<()> {
    loop {
        let bytes = read_frame(&mut stream, FRAME_BYTES_MAX).await?;
        let envelope: Envelope = postcard::from_bytes(&bytes).map_err(invalid)?;
        if (envelope.from, envelope.to) != (from, to) {
            return Err(invalid(format!("a message from n{} to n{}", envelope.from, envelope.to)));
        }
        if received.send(envelope).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let number =
        |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes are a number"));
    if crc32fast::hash(&header[..8]) != number(8) {
        return Err(invalid("the header of a frame was altered on its way"));
    }
    let length = number(0) as usize;
    if length > bytes_max {
        return Err(invalid(format!("a frame of {length} bytes, the limit is {bytes_max}")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    if crc32fast::hash(&bytes) != number(4) {
        return Err(invalid("a frame was altered on its way"));
    }
    Ok(bytes)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_with_any_bit_altered_is_refused() {
        let hello = Hello { format: FORMAT, cluster: 7, from: 1, to: 2 };
        let mut frame = Vec::new();
        encode(&hello, &mut frame);
        let read = read_frame(&mut &frame[..], FRAME_BYTES_MAX).await.expect("it is whole");
        assert_eq!(postcard::from_bytes::<Hello>(&read), Ok(hello));
        for bit in 0..frame.len() * 8 {
            let mut altered = frame.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let refused = read_frame(&mut &altered[..], FRAME_BYTES_MAX).await.expect_err("it was altered");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "bit {bit}: {refused}");
        }
    }
}
