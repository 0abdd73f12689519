//! The network of one run, as the rest of the harness holds it: addresses, rules, counters, ways in.
//!
//! A handle is cheap to copy and may be used from any thread. When the last one is dropped, the switch ends and the
//! interfaces disappear.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use checkers::history::NodeId;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::burst::{self, Burst, Sighting};
use super::capture::{Capture, CaptureState};
use super::rule::Rule;
use super::rules::{Endpoint, Link, LinkCounters, Strays, Table};
use super::step::{InStep, Step, StepError};
use super::switch::{Port, Switch};
use super::{interface, namespace};

/// The largest number that a node's name may have: it is the last part of its address, and the harness has some too.
const NODE_MAX: u16 = 199;
/// The harness's own address.
const HARNESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// Below the first, IPv4 does not work; the second is the largest packet that is a multiple of eight.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 576..=65_528;

/// How the network is to be.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// From which the fate of packets is drawn.
    pub seed: u64,
    /// Where to write what the nodes sent, up to 64 MiB.
    pub pcap: Option<PathBuf>,
    /// The largest packet, in bytes.
    pub mtu: u16,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self { seed: 0, pcap: None, mtu: 1500 }
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A node's number has no address.
    #[error("{0} has no address: nodes of the sandbox are n1 to n{NODE_MAX}, each once")]
    Node(NodeId),
    /// A packet size that does not work.
    #[error("an MTU of {0} is out of range: take 576 to 65528")]
    Mtu(u16),
    /// The capture could not be created.
    #[error("failed to create the capture {path}: {source}")]
    Capture {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("failed to connect {endpoint}: {source}")]
    Step {
        /// Whose interface.
        endpoint: Endpoint,
        /// What failed.
        source: StepError,
    },
}

impl NetworkError {
    /// What a person can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Node(_) => "take fewer nodes",
            Self::Mtu(_) => "1500 is what most networks have",
            Self::Capture { .. } => "check that the directory exists, is writable and has space",
            Self::Step { source, .. } => source.help(),
        }
    }
}

/// A handle on the network of a run.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    sites: Vec<Site>,
    table: Arc<Table>,
    captured: Option<Arc<Mutex<CaptureState>>>,
    stop: Arc<EventFd>,
    switch: Mutex<Option<JoinHandle<io::Result<()>>>>,
    /// Tells the datagrams of one probe from those of another.
    probes: AtomicU64,
}

/// Where an endpoint is.
struct Site {
    endpoint: Endpoint,
    address: Ipv4Addr,
    namespace: File,
}

impl Network {
    pub(super) fn build(tun: &Path, nodes: &[NodeId], options: NetworkOptions) -> Result<Self, NetworkError> {
        let NetworkOptions { seed, pcap, mtu } = options;
        if !MTU_RANGE.contains(&mtu) {
            return Err(NetworkError::Mtu(mtu));
        }
        let endpoints =
            std::iter::once(Endpoint::Harness).chain(nodes.iter().map(|&node| Endpoint::Node(node)));
        let (mut sites, mut ports) = (Vec::<Site>::new(), Vec::new());
        for endpoint in endpoints {
            let address = address_of(endpoint)?;
            if let (Endpoint::Node(node), true) = (endpoint, sites.iter().any(|site| site.address == address))
            {
                return Err(NetworkError::Node(node));
            }
            let (namespace, port) = namespace::on_own_thread(|| connect(tun, endpoint, address, mtu))
                .step(Step::NodeNamespace)
                .flatten()
                .map_err(|source| NetworkError::Step { endpoint, source })?;
            sites.push(Site { endpoint, address, namespace });
            ports.push(Port { address, tun: port });
        }

        let captured = Arc::new(Mutex::new(CaptureState::default()));
        let capture = match pcap {
            Some(path) => match Capture::create(&path) {
                Ok(capture) => Some(capture),
                Err(source) => return Err(NetworkError::Capture { path, source }),
            },
            None => None,
        };
        let has_capture = capture.is_some();
        let not_started = |source| NetworkError::Step { endpoint: Endpoint::Harness, source };
        let table = Arc::new(Table::new(ports.len()).step(Step::StartSwitch).map_err(not_started)?);
        let switch = Switch::new(ports, seed, Arc::clone(&table), capture, Arc::clone(&captured));
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).step(Step::StartSwitch).map_err(not_started)?;
        let stop = Arc::new(stop);
        let thread = thread::Builder::new().name("switch".into()).spawn({
            let stop = Arc::clone(&stop);
            move || switch.run(&stop)
        });
        let thread = thread.step(Step::StartSwitch).map_err(not_started)?;
        let captured = has_capture.then_some(captured);
        let switch = Mutex::new(Some(thread));
        Ok(Self {
            inner: Arc::new(Inner { sites, table, captured, stop, switch, probes: AtomicU64::new(0) }),
        })
    }

    /// A node's address: 10.77.0.i for the node with number i.
    pub fn address(&self, node: NodeId) -> Ipv4Addr {
        self.site(Endpoint::Node(node)).address
    }

    /// The address of the harness and its clients.
    pub fn harness_address(&self) -> Ipv4Addr {
        HARNESS
    }

    /// Makes a command start in the node's network, in a process group of its own: Ctrl-C is for the harness.
    pub fn command_in(&self, node: NodeId, command: &mut Command) -> io::Result<()> {
        let namespace = self.site(Endpoint::Node(node)).namespace.try_clone()?;
        command.process_group(0);
        // SAFETY: between fork and exec it makes one system call on a descriptor that it owns; it does not allocate.
        unsafe { command.pre_exec(move || namespace::enter_network(&namespace)) };
        Ok(())
    }

    /// Runs `work` on a thread inside an endpoint's network. Sockets opened there stay there.
    ///
    /// A socket opened inside a node's network reaches the node's own address without crossing the switch: whoever
    /// observes a node that way sees it whatever happens to its links.
    pub fn inside<T: Send>(
        &self,
        endpoint: impl Into<Endpoint>,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
        let namespace = &self.site(endpoint.into()).namespace;
        namespace::on_own_thread(|| namespace::enter_network(namespace).map(|()| work()))?
    }

    /// Replaces the rule of the link `from` → `to`. It is in force when this returns: under a rule that blocks, nothing
    /// is delivered from then on.
    pub fn set(&self, from: impl Into<Endpoint>, to: impl Into<Endpoint>, rule: Rule) {
        self.inner.table.set(self.link(from.into(), to.into()), rule);
    }

    /// The rule in force.
    pub fn rule(&self, from: impl Into<Endpoint>, to: impl Into<Endpoint>) -> Rule {
        self.inner.table.rule(self.link(from.into(), to.into()))
    }

    /// What the switch has counted on that link.
    pub fn counters(&self, from: impl Into<Endpoint>, to: impl Into<Endpoint>) -> LinkCounters {
        self.inner.table.counters(self.link(from.into(), to.into()))
    }

    /// Packets that belonged to no link.
    pub fn strays(&self) -> Strays {
        self.inner.table.strays()
    }

    /// Gives every link the default rule, all at once.
    pub fn clear(&self) {
        self.inner.table.clear();
    }

    /// Sends a datagram from inside `from`'s network to a socket inside `to`'s and waits for it. It crosses the switch as
    /// any other packet does, and no node's process is involved.
    pub fn probe(
        &self,
        from: impl Into<Endpoint>,
        to: impl Into<Endpoint>,
        wait: Duration,
    ) -> io::Result<bool> {
        let (from, to) = (from.into(), to.into());
        let token = self.inner.probes.fetch_add(1, Ordering::Relaxed).to_ne_bytes();
        let receiver = self.open_udp(to)?;
        let sender = self.open_udp(from)?;
        sender.send_to(&token, receiver.local_addr()?)?;
        arrives(&receiver, &token, wait)
    }

    /// Sends numbered datagrams along all of these links at once and looks which arrive, and when. As for
    /// [`probe`](Self::probe), no node's process is involved. One sighting for each link, in order.
    ///
    /// # Errors
    ///
    /// The sockets could not be opened or used.
    pub fn burst(&self, links: &[Link], burst: &Burst) -> io::Result<Vec<Sighting>> {
        let paths = links.iter().map(|link| Ok((self.open_udp(link.from)?, self.open_udp(link.to)?)));
        burst::send(&paths.collect::<io::Result<Vec<_>>>()?, burst)
    }

    /// Endpoints whose interface has dropped packets because its queue was full, and how many. No fault asked for these:
    /// the machine was too busy.
    pub fn interface_drops(&self) -> Vec<(Endpoint, u64)> {
        let mut drops = Vec::new();
        for site in &self.inner.sites {
            match self.inside(site.endpoint, interface::dropped).flatten() {
                Ok(0) => {}
                Ok(dropped) => drops.push((site.endpoint, dropped)),
                Err(error) => {
                    tracing::warn!(endpoint = %site.endpoint, %error, "failed to read what the interface dropped");
                }
            }
        }
        drops
    }

    /// How complete the capture is, if one was asked for.
    pub fn capture(&self) -> Option<CaptureState> {
        let state = self.inner.captured.as_ref()?;
        Some(state.lock().expect("nobody panics while holding the state of the capture").clone())
    }

    /// Whether the switch runs. If it has ended by itself, everything is cut and the run is worth nothing.
    pub fn is_running(&self) -> bool {
        let switch = self.inner.switch.lock().expect("nobody panics while holding the switch");
        switch.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn open_udp(&self, endpoint: Endpoint) -> io::Result<UdpSocket> {
        let address = self.site(endpoint).address;
        self.inside(endpoint, || UdpSocket::bind((address, 0))).flatten()
    }

    fn site(&self, endpoint: Endpoint) -> &Site {
        &self.inner.sites[self.number(endpoint)]
    }

    fn number(&self, endpoint: Endpoint) -> usize {
        self.inner
            .sites
            .iter()
            .position(|site| site.endpoint == endpoint)
            .expect("only endpoints of this network are asked for")
    }

    fn link(&self, from: Endpoint, to: Endpoint) -> usize {
        assert_ne!(from, to, "packets to oneself never reach the switch");
        self.inner.table.link(self.number(from), self.number(to))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.stop.write(1) {
            tracing::error!(%error, "failed to stop the switch");
            return;
        }
        let switch = self.switch.get_mut().expect("nobody panics while holding the switch");
        match switch.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => tracing::error!(%error, "the switch had ended early"),
            Some(Err(_)) => tracing::error!("the switch had panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// Makes an endpoint's interface. On a thread of its own, which moves into the new namespace of a node; the harness is
/// connected where it is.
fn connect(
    tun: &Path,
    endpoint: Endpoint,
    address: Ipv4Addr,
    mtu: u16,
) -> Result<(File, OwnedFd), StepError> {
    match endpoint {
        Endpoint::Node(_) => namespace::unshare_network()?,
        Endpoint::Harness => {}
    }
    let port = interface::create(tun, address, mtu)?;
    let namespace = namespace::current_network().step(Step::NodeNamespace)?;
    Ok((namespace, port))
}

fn address_of(endpoint: Endpoint) -> Result<Ipv4Addr, NetworkError> {
    match endpoint {
        Endpoint::Harness => Ok(HARNESS),
        Endpoint::Node(node) => match u8::try_from(node.0) {
            Ok(number) if (1..=NODE_MAX).contains(&node.0) => Ok(Ipv4Addr::new(10, 77, 0, number)),
            _ => Err(NetworkError::Node(node)),
        },
    }
}

fn arrives(receiver: &UdpSocket, token: &[u8], wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    let mut buffer = [0; 64];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        receiver.set_read_timeout(Some(left))?;
        match receiver.recv(&mut buffer) {
            Ok(length) if buffer[..length] == *token => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_address_of_their_number() {
        let address = |number| address_of(Endpoint::Node(NodeId(number))).ok();
        assert_eq!(address(7), Some(Ipv4Addr::new(10, 77, 0, 7)));
        assert_eq!(address(0), None);
        assert_eq!(address(200), None);
        assert_eq!(address(257), None);
    }
}
