//! The sandbox: this process again, in namespaces of its own, under a pid 1 that takes everything along when it ends.
//!
//! [`enter`] forks twice and returns in the grandchild. Nothing is executed anew: the process has no threads yet, so
//! its copy is whole, and open listeners and arguments come along by themselves. The two outer processes stay in
//! [`supervise`](super::supervise) until the inner one has ended, and leave with its exit status.
//!
//! Whichever of the three processes dies, by SIGKILL too, the kernel ends the rest: pid 1 gets SIGKILL when its parent
//! dies, a pid namespace ends with its pid 1, and namespaces, mounts and TUN interfaces end with the last process
//! that uses them. Nodes must not ask for a signal at their parent's death: that is bound to the *thread* that started
//! them, and the threads of a runtime come and go.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use checkers::history::NodeId;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, fork, geteuid, pipe2};

use super::network::{Network, NetworkError, NetworkOptions};
use super::step::{InStep, Step, StepError};
use super::{interface, namespace, supervise};

/// What the sandbox is to have.
#[derive(Clone, Debug)]
pub struct Request {
    /// The TUN device, usually `/dev/net/tun`.
    pub tun: PathBuf,
    /// Addresses of the *host* to listen on, so that people outside the sandbox can reach what is inside.
    pub host_listeners: Vec<SocketAddr>,
}

impl Default for Request {
    fn default() -> Self {
        Self { tun: PathBuf::from("/dev/net/tun"), host_listeners: Vec::new() }
    }
}

/// With which rights the sandbox was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// As root.
    A,
    /// As an ordinary user who is root in a user namespace, with a TUN device that this user may open.
    B,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::A => "A (root)",
            Self::B => "B (user namespace)",
        })
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The caller was late.
    #[error("failed to enter the sandbox: the process has {0} threads, and only one may enter")]
    Threads(usize),
    /// An address of the host is not free.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The TUN device cannot be opened.
    #[error("failed to open the TUN device {path}: {}", .source.source)]
    Tun {
        /// Which.
        path: PathBuf,
        /// Why.
        source: StepError,
    },
    /// The kernel refused.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl SandboxError {
    /// What a person can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Threads(_) => "enter the sandbox before any thread is started",
            Self::Listen { .. } => "choose another port, or end the program that listens there",
            Self::Tun { source, .. } => source.help(),
            Self::Step(error) => error.help(),
        }
    }
}

/// The inside of the sandbox.
#[derive(Debug)]
pub struct Sandbox {
    /// Listening on the host's addresses, in the order of the request. Blocking.
    pub host_listeners: Vec<TcpListener>,
    /// What could not be had and can be done without.
    pub warnings: Vec<String>,
    tun: PathBuf,
    tier: Tier,
}

impl Sandbox {
    /// The rights it was built with.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Builds the network of a run: an address and a namespace for each node, and the switch between them.
    ///
    /// One at a time: the harness's own port can be attached once.
    pub fn network(&self, nodes: &[NodeId], options: NetworkOptions) -> Result<Network, NetworkError> {
        Network::build(&self.tun, nodes, options)
    }
}

/// Enters the sandbox. Returns inside, in a grandchild of the caller; the calling process itself never returns from
/// here, but ends with the exit status of the grandchild, unless there is an error to report.
///
/// Call it first thing in `main`, before any thread is started.
pub fn enter(request: &Request) -> Result<Sandbox, SandboxError> {
    let tiers: &[Tier] = if geteuid().is_root() { &[Tier::A, Tier::B] } else { &[Tier::B] };
    enter_as(tiers, request)
}

/// Enters with the first of these tiers that the kernel grants.
pub(super) fn enter_as(tiers: &[Tier], request: &Request) -> Result<Sandbox, SandboxError> {
    single_threaded()?;
    // Only to see that it opens: better an error now than when a cluster is half built.
    interface::open_tun(&request.tun)
        .map_err(|source| SandboxError::Tun { path: request.tun.clone(), source })?;
    // Before unsharing, because a socket belongs to the network namespace it was made in.
    let host_listeners =
        request.host_listeners.iter().map(|&address| listen(address)).collect::<Result<_, _>>()?;
    // A copy of what is buffered would be written again by each process.
    let _ = io::stdout().flush();
    let tier = unshare(tiers)?;

    let mask = supervise::hold_signals().step(Step::Fork)?;
    let (alive, held_open) = pipe2(OFlag::O_CLOEXEC).step(Step::Fork)?;
    // SAFETY: the process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }.step(Step::Fork)? {
        ForkResult::Parent { child } => {
            // The addresses must be free again as soon as the inside closes them.
            drop::<Vec<TcpListener>>(host_listeners);
            supervise::leave_with(child)
        }
        ForkResult::Child => {
            drop(held_open);
            let warnings = become_init(&alive, &mask)?;
            Ok(Sandbox { host_listeners, warnings, tun: absolute(&request.tun), tier })
        }
    }
}

/// What pid 1 does; returns in its child.
fn become_init(parent_alive: &OwnedFd, mask: &SigSet) -> Result<Vec<String>, StepError> {
    set_pdeathsig(Signal::SIGKILL).step(Step::Fork)?;
    // The parent may have died before the line above. Its pid cannot be asked for, as it is outside this namespace.
    if supervise::has_ended(parent_alive).step(Step::Fork)? {
        std::process::exit(128 + Signal::SIGKILL as i32);
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step(Step::MountPrivate)?;
    let mut warnings = Vec::new();
    if let Err(errno) = mount_proc() {
        warnings.push(format!(
            "failed to mount /proc in the sandbox: {errno}; going on with the outer one, which has other pids"
        ));
    }
    // SAFETY: pid 1 has one thread, the one that forked it.
    match unsafe { fork() }.step(Step::Fork)? {
        ForkResult::Parent { child } => supervise::leave_with(child),
        ForkResult::Child => {
            supervise::release_signals(mask).step(Step::Fork)?;
            Ok(warnings)
        }
    }
}

/// Where parts of `/proc` are hidden, as in many containers, the kernel refuses a fresh one that would show them.
fn mount_proc() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

fn unshare(tiers: &[Tier]) -> Result<Tier, StepError> {
    let mut refusal = None;
    for &tier in tiers {
        let unshared = match tier {
            Tier::A => namespace::unshare_as_root(),
            Tier::B => namespace::unshare_as_user(),
        };
        match unshared {
            Ok(()) => return Ok(tier),
            // The first one says more: root should have got what it asked for.
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.expect("there is a tier to try"))
}

pub(super) fn single_threaded() -> Result<(), SandboxError> {
    // Where it cannot be read, the kernel's refusal of a user namespace has to do.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads == 1 { Ok(()) } else { Err(SandboxError::Threads(threads)) }
}

fn listen(address: SocketAddr) -> Result<TcpListener, SandboxError> {
    TcpListener::bind(address).map_err(|source| SandboxError::Listen { address, source })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
