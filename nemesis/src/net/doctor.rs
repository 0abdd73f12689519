//! What this machine can do, and why not: the whole sandbox is built once for each tier, used, and thrown away.
//!
//! Asking the kernel whether it *would* allow a step is not enough. Under AppArmor, for instance, unsharing succeeds
//! and the mount after it does not. So a child goes through the same code as a run does, down to a packet that crosses
//! the switch and one that a rule stops, and reports the step that failed.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use checkers::history::NodeId;
use nix::sys::utsname::uname;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, geteuid};

use super::network::NetworkOptions;
use super::rule::Rule;
use super::sandbox::{self, Request, Sandbox, Tier};
use super::{NetworkError, interface};

/// The first kernel whose `epoll_wait` counts in nanoseconds, which the switch needs for short delays.
const KERNEL_MIN: (u32, u32) = (5, 11);
/// How long a packet may take through the switch on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How long to wait for a packet that must not arrive.
const SILENCE: Duration = Duration::from_millis(50);

/// Of tiers that could be, and are not yet.
const NOT_BUILT: &str = "not built: runs need tier A or B";

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The tier that a run would use, `None` if the machine has none.
    pub tier: Option<Tier>,
    /// One line for each thing looked at.
    pub checks: Vec<Check>,
}

impl Report {
    /// Why there is no tier: what failed, with the ways out, a line each.
    pub fn reasons(&self) -> Vec<String> {
        let failed = self.checks.iter().filter(|check| !check.ok && check.detail != NOT_BUILT);
        failed
            .map(|check| {
                let help = check.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
                format!("{}: {}{help}", check.name, check.detail)
            })
            .collect()
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as a run wants it.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do if it is not.
    pub help: Option<String>,
}

impl Check {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into(), help: None }
    }

    fn bad(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into(), help: Some(help.into()) }
    }
}

/// Tries every tier with this TUN device.
///
/// It forks, so it must be called before the process has any thread, as [`enter`](super::enter) must.
pub fn probe(tun: &Path) -> Report {
    let as_root = geteuid().is_root().then(|| trial(Tier::A, tun));
    let as_user = trial(Tier::B, tun);
    let tier = match (&as_root, &as_user) {
        (Some(Ok(_)), _) => Some(Tier::A),
        (_, Ok(_)) => Some(Tier::B),
        _ => None,
    };
    let mut checks = vec![kernel(), tun_device(tun)];
    checks.push(match &as_root {
        Some(outcome) => tier_check("tier A, root", outcome),
        None => Check::bad(
            "tier A, root",
            format!("not root but uid {}", geteuid()),
            "nothing to do if tier B works; else run as root",
        ),
    });
    checks.push(tier_check("tier B, user namespace", &as_user));
    // What a run would see: the best tier's findings.
    if let Some(Ok(found)) = as_root.iter().chain([&as_user]).find(|outcome| outcome.is_ok()) {
        checks.push(proc_check(found));
        checks.push(capture_check(found));
    }
    checks.push(Check::bad("tier C, veth pairs", NOT_BUILT, "see tier B"));
    checks.push(Check::bad("tier D, loopback proxies", NOT_BUILT, "see tier B"));
    Report { tier, checks }
}

/// What a sandbox that worked had to say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Why there is no capture, empty if there is one.
    no_capture: String,
    warnings: Vec<String>,
}

/// A sandbox that did not work.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    detail: String,
    help: String,
}

impl Refused {
    fn new(error: &impl ToString, help: &str) -> Self {
        Self { detail: error.to_string(), help: help.to_owned() }
    }
}

type Outcome = Result<Found, Refused>;

/// Builds and uses a sandbox in a child, which tells its outcome through a pipe.
fn trial(tier: Tier, tun: &Path) -> Outcome {
    in_child(tier, tun).unwrap_or_else(|error| {
        let detail = format!("failed to try it in a child process: {error}");
        Err(Refused::new(&detail, "try again on a quieter machine"))
    })
}

fn in_child(tier: Tier, tun: &Path) -> io::Result<Outcome> {
    if let Err(error) = sandbox::single_threaded() {
        return Ok(Err(Refused::new(&error, error.help())));
    }
    let (mut reader, mut writer) = io::pipe()?;
    io::stdout().flush()?;
    // SAFETY: the process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(reader);
            // Of the child and the two processes of the sandbox, one comes back with an outcome.
            let told = writer.write_all(encode(&use_sandbox(tier, tun)).as_bytes());
            std::process::exit(i32::from(told.is_err()))
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text)?;
            let status = waitpid(child, None)?;
            Ok(decode(&text).unwrap_or_else(|| {
                let detail = format!("the sandbox ended without a word: {status:?}");
                Err(Refused::new(&detail, "see the kernel's log"))
            }))
        }
    }
}

fn use_sandbox(tier: Tier, tun: &Path) -> Outcome {
    let request = Request { tun: tun.to_owned(), host_listeners: Vec::new() };
    let sandbox = sandbox::enter_as(&[tier], &request).map_err(|error| Refused::new(&error, error.help()))?;
    let pcap = std::env::temp_dir().join(format!("harness-doctor-{}-{tier:?}.pcap", std::process::id()));
    let captured = exchange(&sandbox, Some(&pcap));
    let no_capture = match captured {
        Ok(()) => String::new(),
        Err(Trouble::Capture(error)) => {
            exchange(&sandbox, None).map_err(Trouble::refused)?;
            error
        }
        Err(trouble) => return Err(trouble.refused()),
    };
    // It exists unless there was no place for it, which has been told.
    let _ = std::fs::remove_file(&pcap);
    Ok(Found { no_capture, warnings: sandbox.warnings })
}

enum Trouble {
    Network(NetworkError),
    Capture(String),
    Switch(String),
}

impl Trouble {
    fn refused(self) -> Refused {
        match self {
            Self::Network(error) => Refused::new(&error, error.help()),
            Self::Capture(detail) | Self::Switch(detail) => {
                Refused::new(&detail, "look at the machine's load and at the kernel's log")
            }
        }
    }
}

/// One packet that must arrive and one that must not.
fn exchange(sandbox: &Sandbox, pcap: Option<&Path>) -> Result<(), Trouble> {
    let (n1, n2) = (NodeId(1), NodeId(2));
    let options = NetworkOptions { pcap: pcap.map(Path::to_owned), ..NetworkOptions::default() };
    let network = sandbox.network(&[n1, n2], options).map_err(|error| match error {
        NetworkError::Capture { .. } => Trouble::Capture(error.to_string()),
        NetworkError::Node(_) | NetworkError::Mtu(_) | NetworkError::Step { .. } => Trouble::Network(error),
    })?;
    let probe = |wait| {
        let sent = network.probe(n1, n2, wait);
        sent.map_err(|error| Trouble::Switch(format!("failed to send a packet from n1 to n2: {error}")))
    };
    if !probe(ARRIVAL)? {
        return Err(Trouble::Switch(format!("a packet from n1 did not reach n2 within {ARRIVAL:?}")));
    }
    network.set(n1, n2, Rule::BLOCK);
    if probe(SILENCE)? || network.counters(n1, n2).blocked == 0 {
        return Err(Trouble::Switch(
            "a blocked packet from n1 to n2 was not stopped by the switch".to_owned(),
        ));
    }
    match network.capture() {
        Some(state) if state.packets == 0 => {
            Err(Trouble::Capture(state.error.unwrap_or_else(|| "no packet reached the capture".to_owned())))
        }
        Some(_) | None => Ok(()),
    }
}

/// Lines: the word for the kind of outcome first.
fn encode(outcome: &Outcome) -> String {
    match outcome {
        Ok(found) => {
            let mut lines = vec!["works", found.no_capture.as_str()];
            lines.extend(found.warnings.iter().map(String::as_str));
            lines.join("\n")
        }
        Err(refused) => ["refused", &refused.detail, &refused.help].join("\n"),
    }
}

fn decode(text: &str) -> Option<Outcome> {
    let mut lines = text.split('\n').map(str::to_owned);
    match lines.next()?.as_str() {
        "works" => Some(Ok(Found { no_capture: lines.next()?, warnings: lines.collect() })),
        "refused" => Some(Err(Refused { detail: lines.next()?, help: lines.next()? })),
        _ => None,
    }
}

fn kernel() -> Check {
    const NAME: &str = "kernel";
    let release = match uname() {
        Ok(name) => name.release().to_string_lossy().into_owned(),
        Err(errno) => {
            return Check::bad(NAME, format!("failed to ask for its version: {errno}"), "use Linux");
        }
    };
    match version(&release) {
        Some(version) if version < KERNEL_MIN => Check::bad(
            NAME,
            format!("Linux {release} is too old"),
            format!("Linux {}.{} or later is needed, for epoll_pwait2", KERNEL_MIN.0, KERNEL_MIN.1),
        ),
        Some(_) | None => Check::good(NAME, format!("Linux {release}")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn tun_device(tun: &Path) -> Check {
    const NAME: &str = "tun device";
    match interface::open_tun(tun) {
        Ok(_) => Check::good(NAME, format!("{} opens for uid {}", tun.display(), geteuid())),
        Err(error) => Check::bad(NAME, format!("{}: {}", tun.display(), error.source), error.help()),
    }
}

fn tier_check(name: &'static str, outcome: &Outcome) -> Check {
    match outcome {
        Ok(_) => Check::good(name, "works: a packet crossed the switch, a rule stopped another"),
        Err(refused) => Check::bad(name, &refused.detail, &refused.help),
    }
}

fn proc_check(found: &Found) -> Check {
    const NAME: &str = "/proc";
    if found.warnings.is_empty() {
        return Check::good(NAME, "the sandbox has its own");
    }
    // Pids are translated where evidence is read, so this is a note and not a lack.
    Check::good(NAME, found.warnings.join("; "))
}

fn capture_check(found: &Found) -> Check {
    const NAME: &str = "pcap";
    if found.no_capture.is_empty() {
        return Check::good(NAME, "the switch writes it itself; Wireshark and tcpdump read it");
    }
    Check::bad(NAME, &found.no_capture, "runs work, but leave no capture; check that the disk has space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_pipe() {
        let outcomes = [
            Ok(Found::default()),
            Ok(Found { no_capture: "no space".into(), warnings: vec!["one".into(), "two".into()] }),
            Err(Refused { detail: "failed to fork".into(), help: "wait".into() }),
        ];
        for outcome in outcomes {
            assert_eq!(decode(&encode(&outcome)), Some(outcome));
        }
        assert_eq!(decode(""), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert!(version("5.4.0").expect("a version") < KERNEL_MIN);
        assert!(version("5.15.0").expect("a version") > KERNEL_MIN);
        assert_eq!(version("unknown"), None);
    }
}
