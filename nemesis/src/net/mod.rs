//! The network of a run: a sandbox of namespaces, an address for each node, and a switch between them.
//!
//! ```text
//! harness            the caller's process: waits, passes signals on, hands the exit status back
//! └─ pid 1           reaps; when it ends, the kernel ends everything below
//!    └─ harness      what [`enter`] returns in; its own address 10.77.0.254
//!       ├─ n1        own network namespace, tun0 10.77.0.1 ─┐
//!       └─ n2        own network namespace, tun0 10.77.0.2 ─┴─ the switch: one thread, a rule for each direction
//! ```
//! Nodes are unmodified programs over the kernel's own TCP. Nothing here needs `ip`, `tc` or a firewall, and nothing
//! of it outlives the process that asked for it.

mod burst;
mod capture;
pub mod doctor;
mod interface;
mod kept;
mod link;
mod namespace;
mod network;
mod packet;
mod rule;
mod rules;
mod sandbox;
mod step;
mod supervise;
mod switch;

pub use burst::{Arrival, Burst, Sighting};
pub use capture::CaptureState;
pub(crate) use namespace::become_root_of;
pub use network::{Network, NetworkError, NetworkOptions};
pub use rule::{Flap, Rule, Spread};
pub use rules::{Endpoint, Link, LinkCounters, Strays};
pub use sandbox::{Request, Sandbox, SandboxError, Tier, enter};
pub use step::{Step, StepError};
