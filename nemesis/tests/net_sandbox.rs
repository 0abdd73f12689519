//! The process tree of the sandbox, watched from the host: what it hands through, and that nothing survives it.
//!
//! Each test starts this program again in a role that enters the sandbox, and looks at it from outside.

mod net_support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use checkers::history::NodeId;
use nemesis::net::{NetworkOptions, Request, Sandbox, doctor, enter};
use net_support::{Case, eventually, tun};
use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::Pid;

/// After this, nothing may be left of a sandbox that was killed.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const STARTED_WITHIN: Duration = Duration::from_secs(10);

const CASES: &[Case<()>] = &[
    ("the_exit_status_comes_through", the_exit_status_comes_through),
    ("a_signal_to_the_outside_reaches_the_inside", a_signal_to_the_outside_reaches_the_inside),
    ("killing_the_trampoline_leaves_nothing", killing_the_trampoline_leaves_nothing),
    ("killing_pid_1_leaves_nothing", killing_pid_1_leaves_nothing),
    ("killing_the_inside_leaves_nothing", killing_the_inside_leaves_nothing),
    ("an_orderly_end_leaves_nothing", an_orderly_end_leaves_nothing),
    ("orphans_are_reaped", orphans_are_reaped),
    ("two_sandboxes_do_not_meet", two_sandboxes_do_not_meet),
    ("the_inside_listens_on_the_host", the_inside_listens_on_the_host),
    ("a_taken_address_is_named_before_anything_starts", a_taken_address_is_named_before_anything_starts),
    ("a_missing_device_is_named_with_the_way_out", a_missing_device_is_named_with_the_way_out),
    ("a_file_that_is_no_tun_device_is_named", a_file_that_is_no_tun_device_is_named),
    ("a_process_with_threads_may_not_enter", a_process_with_threads_may_not_enter),
    ("the_doctor_agrees", the_doctor_agrees),
    ("the_doctor_says_what_is_missing", the_doctor_says_what_is_missing),
];

fn main() {
    if let Some(role) = std::env::var_os("NET_SANDBOX_ROLE") {
        std::process::exit(play(&role));
    }
    net_support::require_tier();
    net_support::run(CASES, &())
}

/// What the program does when a test has started it again.
fn play(role: &OsString) -> i32 {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let role = role.to_str().expect("roles are words");
    // Shells start what runs in the background with these ignored, and so do `nohup` and some CI systems.
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: the default action runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.expect("these can be set");
    }
    if role == "threads" {
        // It waits for longer than the test takes.
        std::thread::spawn(|| std::thread::sleep(STARTED_WITHIN));
    }
    let host_listeners = match role {
        "listen" => vec![argument.parse::<SocketAddr>().expect("an address")],
        _ => Vec::new(),
    };
    let sandbox = match enter(&Request { tun: tun(), host_listeners }) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            println!("{error}\nhelp: {}", error.help());
            return 255;
        }
    };
    match role {
        "exit" => argument.parse().expect("a status"),
        "cluster" => cluster(&sandbox),
        "listen" => answer(&sandbox),
        "orphan" => orphan(&sandbox),
        "network" => match sandbox.network(&[NodeId(1)], NetworkOptions::default()) {
            Ok(_) => 0,
            Err(error) => {
                println!("{error}\nhelp: {}", error.help());
                255
            }
        },
        _ => 0,
    }
}

/// Three nodes with a process each, and a daemon that has cut all its ties; until standard input ends.
fn cluster(sandbox: &Sandbox) -> i32 {
    let nodes = [1, 2, 3].map(NodeId);
    let network = sandbox.network(&nodes, NetworkOptions::default()).expect("the machine has a tier");
    let mut children = Vec::new();
    for node in nodes {
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sh -c 'sleep 1000 & sleep 1000' & exec sleep 1000"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        network.command_in(node, &mut command).expect("the namespace is open");
        children.push(command.spawn().expect("a shell starts"));
    }
    println!("up");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // Their end is left to the kernel.
    drop(children);
    0
}

/// Leaves processes behind that end after their parent, and waits until pid 1 and we are alone.
fn orphan(sandbox: &Sandbox) -> i32 {
    let status = Command::new("sh").args(["-c", "for n in 1 2 3; do sleep 0.05 & done"]).status();
    assert!(status.expect("a shell starts").success());
    if sandbox.warnings.is_empty() {
        // Zombies would be seen here too.
        let pids = || {
            let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
            entries
                .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<i32>().is_ok()))
                .count()
        };
        eventually("only pid 1 and we are left", STARTED_WITHIN, || pids() == 2);
    }
    0
}

fn answer(sandbox: &Sandbox) -> i32 {
    println!("{}", sandbox.host_listeners[0].local_addr().expect("it is bound"));
    let (mut stream, _) = sandbox.host_listeners[0].accept().expect("the host connects");
    let namespace = fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
    write!(stream, "{}", namespace.display()).expect("the host reads");
    0
}

/// A process of the host's view, told from a later one with the same pid.
type Process = (i32, String);

/// A program in a role, and its process tree.
struct Started {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Started {
    fn role(role: &str, argument: &str) -> Self {
        Self::with_tun(role, argument, tun().into())
    }

    fn with_tun(role: &str, argument: &str, tun: OsString) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("we run from a file"))
            .arg(argument)
            .env("NET_SANDBOX_ROLE", role)
            .env("HARNESS_TUN", tun)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("we can be started again");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes text");
        line.trim_end().to_owned()
    }

    /// Its end, and all that it wrote until then.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it is our child");
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("it writes text");
        (status, text)
    }

    /// The trampoline, pid 1, and the inside.
    fn stages(&self) -> [i32; 3] {
        let trampoline = i32::try_from(self.child.id()).expect("pids fit an i32");
        let only_child = |of| children(of).first().copied().expect("the sandbox is up");
        let init = only_child(trampoline);
        [trampoline, init, only_child(init)]
    }
}

/// All processes: pid, parent, start time. One that has ended is gone, even if whoever inherited it has not asked for
/// its status yet: the machine's init takes its time.
fn processes() -> Vec<(i32, i32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        // They end while we look.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat[stat.rfind(')')? + 2..].split(' ').collect::<Vec<_>>();
        (fields[0] != "Z").then_some((pid, fields[1].parse().ok()?, fields[19].to_owned()))
    })
    .collect()
}

fn children(of: i32) -> Vec<i32> {
    let all = processes();
    all.iter().filter(|(_, parent, _)| *parent == of).map(|(pid, ..)| *pid).collect()
}

/// A process and all below it.
fn tree(root: i32) -> BTreeSet<Process> {
    let all = processes();
    let mut found = BTreeSet::from([root]);
    loop {
        let more = all.iter().filter(|(_, parent, _)| found.contains(parent)).map(|(pid, ..)| *pid);
        let grown = found.iter().copied().chain(more).collect::<BTreeSet<_>>();
        if grown.len() == found.len() {
            break;
        }
        found = grown;
    }
    all.into_iter().filter(|(pid, ..)| found.contains(pid)).map(|(pid, _, start)| (pid, start)).collect()
}

/// The namespaces that these processes have and we have not.
fn namespaces(tree: &BTreeSet<Process>) -> BTreeSet<String> {
    let of = |pid: &str| {
        let links =
            ["net", "mnt", "pid", "ipc", "uts"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")));
        links.into_iter().flatten().map(|link| link.to_string_lossy().into_owned()).collect::<BTreeSet<_>>()
    };
    let ours = of("self");
    tree.iter().flat_map(|(pid, _)| of(&pid.to_string())).filter(|name| !ours.contains(name)).collect()
}

/// Starts a cluster, lets `end` end it, and waits until nothing of it is left.
fn leaves_nothing(end: impl FnOnce(&mut Started)) -> ExitStatus {
    let mut started = Started::role("cluster", "");
    assert_eq!(started.line(), "up");
    let root = started.stages()[0];
    // The nodes' daemons take a moment: 3 stages, 3 nodes with 3 processes of daemons each.
    eventually("every process is up", STARTED_WITHIN, || {
        let sleeping = processes().into_iter().filter(|(pid, ..)| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "sleep")
        });
        let tree = tree(root);
        sleeping.filter(|(pid, _, start)| tree.contains(&(*pid, start.clone()))).count() == 9
    });
    let before = tree(root);
    let spaces = namespaces(&before);
    assert!(spaces.len() >= 8, "a network for each node, and five of the sandbox: {spaces:?}");

    end(&mut started);
    let status = started.child.wait().expect("it is our child");
    eventually("everything is gone", GONE_WITHIN, || {
        processes().iter().all(|(pid, _, start)| !before.contains(&(*pid, start.clone())))
    });
    // A namespace lives as long as a process in it or a descriptor on it: mounts and interfaces end with it.
    let everyone = processes().into_iter().map(|(pid, _, start)| (pid, start)).collect();
    assert!(namespaces(&everyone).is_disjoint(&spaces));
    status
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process is ours");
}

fn the_exit_status_comes_through((): &()) {
    for status in [0, 1, 2, 254] {
        let (ended, _) = Started::role("exit", &status.to_string()).end();
        assert_eq!(ended.code(), Some(status));
    }
}

fn a_signal_to_the_outside_reaches_the_inside((): &()) {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let status = leaves_nothing(|started| send(started.stages()[0], signal));
        assert_eq!(status.code(), Some(128 + signal as i32));
    }
}

fn killing_the_trampoline_leaves_nothing((): &()) {
    let status = leaves_nothing(|started| send(started.stages()[0], Signal::SIGKILL));
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
}

fn killing_pid_1_leaves_nothing((): &()) {
    let status = leaves_nothing(|started| send(started.stages()[1], Signal::SIGKILL));
    assert_eq!(status.code(), Some(128 + Signal::SIGKILL as i32));
}

fn killing_the_inside_leaves_nothing((): &()) {
    let status = leaves_nothing(|started| send(started.stages()[2], Signal::SIGKILL));
    assert_eq!(status.code(), Some(128 + Signal::SIGKILL as i32));
}

fn an_orderly_end_leaves_nothing((): &()) {
    let status = leaves_nothing(|started| drop(started.child.stdin.take()));
    assert_eq!(status.code(), Some(0));
}

fn orphans_are_reaped((): &()) {
    assert_eq!(Started::role("orphan", "").end().0.code(), Some(0));
}

fn two_sandboxes_do_not_meet((): &()) {
    let mut clusters = [Started::role("cluster", ""), Started::role("cluster", "")];
    let spaces = clusters.each_mut().map(|started| {
        assert_eq!(started.line(), "up");
        namespaces(&tree(started.stages()[0]))
    });
    assert!(spaces[0].is_disjoint(&spaces[1]));
    for mut started in clusters {
        drop(started.child.stdin.take());
        assert_eq!(started.end().0.code(), Some(0));
    }
}

fn the_inside_listens_on_the_host((): &()) {
    let mut started = Started::role("listen", "127.0.0.1:0");
    let mut stream = TcpStream::connect(started.line()).expect("it listens on the host");
    let mut namespace = String::new();
    stream.read_to_string(&mut namespace).expect("it answers");
    let ours = fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
    assert!(namespace.starts_with("net:["), "{namespace}");
    assert_ne!(namespace, ours.to_string_lossy(), "who answers on the host's address is inside");
    assert_eq!(started.end().0.code(), Some(0));
}

fn a_taken_address_is_named_before_anything_starts((): &()) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (status, text) = Started::role("listen", &address).end();
    assert_eq!(status.code(), Some(255));
    assert!(text.contains(&format!("failed to listen on {address}: Address already in use")), "{text}");
}

fn a_missing_device_is_named_with_the_way_out((): &()) {
    let (status, text) = Started::with_tun("exit", "0", "/nonexistent/tun".into()).end();
    assert_eq!(status.code(), Some(255));
    assert!(
        text.contains("failed to open the TUN device /nonexistent/tun: No such file")
            && text.contains("--tun PATH"),
        "{text}"
    );
}

fn a_file_that_is_no_tun_device_is_named((): &()) {
    let (status, text) = Started::with_tun("network", "", "/dev/null".into()).end();
    assert_eq!(status.code(), Some(255));
    assert!(text.contains("failed to connect harness: failed to attach tun0"), "{text}");
    assert!(text.contains("not a TUN device"), "{text}");
}

fn a_process_with_threads_may_not_enter((): &()) {
    let (status, text) = Started::role("threads", "").end();
    assert_eq!(status.code(), Some(255));
    assert!(text.contains("the process has 2 threads"), "{text}");
}

fn the_doctor_agrees((): &()) {
    let report = doctor::probe(&tun());
    assert!(report.tier.is_some());
    let check = |name: &str| {
        let found = report.checks.iter().find(|check| check.name.starts_with(name));
        found.unwrap_or_else(|| panic!("the report has no line for {name}")).clone()
    };
    assert!(check("kernel").ok && check("tun device").ok);
    assert!(check("tier A").ok || check("tier B").ok);
    assert!(check("tier C").detail.contains("not built"));
    assert!(check("tier D").detail.contains("not built"));
    assert!(report.checks.iter().all(|check| check.ok == check.help.is_none()));
}

fn the_doctor_says_what_is_missing((): &()) {
    let report = doctor::probe("/nonexistent/tun".as_ref());
    assert_eq!(report.tier, None);
    assert!(
        report
            .reasons()
            .iter()
            .any(|reason| reason.contains("tun device") && reason.contains("modprobe tun"))
    );
}
