//! Whole runs on real processes: a valid one, and every way in which one can end early.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Scratch, harness, object, shown, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts a run that would last for minutes.
fn start_long_run(results: &Path) -> Child {
    harness(results, &["test", "--faults", "none", "--time-limit", "300", "--nodes", "3", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the harness starts")
}

/// Waits until the newest run has acknowledged some operations; its directory.
fn wait_until_driving(results: &Path) -> PathBuf {
    let history = results.join("latest/history.jsonl");
    wait_for("an acknowledged operation", || {
        fs::read_to_string(&history).is_ok_and(|text| text.matches("\"type\":\"ok\"").count() > 20)
    });
    results.join("latest").canonicalize().expect("the link points at the run")
}

/// The OS processes that carry the path of this run on their command line: the harness's stages and the nodes.
fn processes_of(path: &Path) -> Vec<(i32, String)> {
    let needle = path.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&needle) && pid != std::process::id().cast_signed() {
            found.push((pid, line));
        }
    }
    found
}

fn end(mut child: Child) -> Output {
    let mut output =
        Output { status: child.wait().expect("it is our child"), stdout: Vec::new(), stderr: Vec::new() };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    stdout.map(|mut pipe| pipe.read_to_end(&mut output.stdout)).transpose().expect("readable");
    stderr.map(|mut pipe| pipe.read_to_end(&mut output.stderr)).transpose().expect("readable");
    output
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("our child is there");
}

#[test]
fn the_papers_raft_is_valid_under_faults_and_judged_the_same_again() {
    let scratch = Scratch::new("valid");
    let args = ["test", "--seed", "7", "--time-limit", "16", "--json"];
    let output = harness(scratch.path(), &args).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let object = object(&output);
    assert_eq!(object["verdict"], "valid");
    for fault in object["faults"].as_array().expect("a list") {
        assert!(fault["installed"].as_u64() >= Some(1), "{fault}");
    }
    assert!(object["leader_changes"].as_u64() >= Some(1), "{object}");

    let run = scratch.path().join("latest");
    let first = fs::read(run.join("findings.json")).expect("the run was judged");
    let again =
        Command::new(env!("CARGO_BIN_EXE_harness")).arg("check").arg(&run).output().expect("it starts");
    assert_eq!(again.status.code(), Some(0), "{}", shown(&again));
    assert_eq!(first, fs::read(run.join("findings.json")).expect("it is still there"));

    // What a nemesis would record that injected nothing, or healed nothing, makes the same run unknown.
    let history = run.join("history.jsonl");
    let text = fs::read_to_string(&history).expect("it was recorded");
    let is_kill = |line: &&str, phase: &str| {
        line.contains(r#""fault":"kill""#) && line.contains(&format!(r#""phase":"{phase}""#))
    };
    let inert = text.lines().map(|line| {
        let line = if is_kill(&line, "inject") {
            line.replace("installed", "indeterminate")
        } else {
            line.to_owned()
        };
        line + "\n"
    });
    let inert = inert.collect::<String>();
    let unhealed = text.lines().filter(|line| !is_kill(line, "heal")).map(|line| line.to_owned() + "\n");
    let unhealed = unhealed.collect::<String>();
    for (mutant, says) in [(inert, "fault kill was installed 0 times"), (unhealed, "was never healed")] {
        fs::write(&history, mutant).expect("it is ours");
        let judged =
            Command::new(env!("CARGO_BIN_EXE_harness")).arg("check").arg(&run).output().expect("it starts");
        assert_eq!(judged.status.code(), Some(2), "{}", shown(&judged));
        assert!(String::from_utf8_lossy(&judged.stdout).contains(says), "{}", shown(&judged));
    }
}

#[test]
fn a_swarm_of_everything_is_valid_and_says_what_it_left_out() {
    let scratch = Scratch::new("swarm");
    let args = ["test", "--seed", "2", "--faults", "all", "--swarm", "--time-limit", "15", "--json"];
    let output = harness(scratch.path(), &args).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("swarm") && stderr.contains("heartbeat"), "{stderr}");
    assert!(stderr.contains("left out") && stderr.contains("wipe: "), "what is left out is told: {stderr}");
}

#[test]
fn a_run_that_missed_its_aim_is_unknown_and_says_what_was_missing() {
    let scratch = Scratch::new("aim");
    let args = ["test", "--nodes", "3", "--faults", "none", "--time-limit", "3", "--aim", "quorum-lost"];
    let output = harness(scratch.path(), &args).arg("--json").output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let object = object(&output);
    let coverage = object["findings"].as_array().expect("a list").iter().find(|f| f["checker"] == "coverage");
    let summary = coverage.expect("coverage speaks")["summary"].as_str().expect("a text");
    assert!(summary.contains("missed its aim quorum-lost: never seen: a fault kept"), "{summary}");
    let situations = object["situations"].as_array().expect("a list");
    assert_eq!(situations.len(), checkers::SITUATIONS.len(), "each is told, reached or not");
    for situation in situations {
        let reached = situation["reached"].as_bool().expect("yes or no");
        assert_eq!(reached, situation["times"].as_u64() > Some(0), "{situation}");
        assert_eq!(reached, situation["missing"].is_null(), "{situation}");
    }
}

#[test]
fn sigkill_leaves_nothing_but_a_readable_history() {
    let scratch = Scratch::new("sigkill");
    let mut child = start_long_run(scratch.path());
    let run = wait_until_driving(scratch.path());
    assert!(processes_of(scratch.path()).len() >= 6, "three stages and three nodes");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let killed = Instant::now();
    wait_for("the end of every process", || processes_of(scratch.path()).is_empty());
    assert!(killed.elapsed() < Duration::from_secs(10), "the kernel ends them, nobody waits for a timeout");

    let check =
        Command::new(env!("CARGO_BIN_EXE_harness")).arg("check").arg(&run).output().expect("it starts");
    assert_eq!(check.status.code(), Some(2), "cut short is unknown: {}", shown(&check));
}

#[test]
fn ctrl_c_ends_cleanly_and_judges_what_was_recorded() {
    let scratch = Scratch::new("ctrl-c");
    let child = start_long_run(scratch.path());
    wait_until_driving(scratch.path());
    signal(&child, Signal::SIGINT);
    let output = end(child);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let object = object(&output);
    let finding = |checker: &str| {
        let findings = object["findings"].as_array().expect("a list");
        findings.iter().find(|finding| finding["checker"] == checker).expect("every checker speaks").clone()
    };
    assert_eq!(finding("linearizable")["verdict"], "valid");
    assert_eq!(finding("coverage")["verdict"], "unknown");
    assert!(processes_of(scratch.path()).is_empty());
}

#[test]
fn a_node_that_dies_by_itself_is_reported_with_its_last_words() {
    let scratch = Scratch::new("death");
    let child = start_long_run(scratch.path());
    let run = wait_until_driving(scratch.path());
    let data = run.join("nodes/n2/data").display().to_string();
    let nodes = processes_of(scratch.path()).into_iter().filter(|(_, line)| line.contains(&data));
    let pids = nodes.map(|(pid, _)| pid).collect::<Vec<_>>();
    assert_eq!(pids.len(), 1, "one process is n2");
    kill(Pid::from_raw(pids[0]), Signal::SIGABRT).expect("n2 is there");
    wait_for("the record of its death", || {
        fs::read_to_string(run.join("history.jsonl")).is_ok_and(|text| text.contains("\"type\":\"death\""))
    });
    signal(&child, Signal::SIGINT);
    let output = end(child);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let text = object(&output).to_string();
    assert!(text.contains("n2 died") && text.contains("SIGABRT"), "{text}");
}

/// One HTTP request, as `curl` would send it, and the body of the answer.
fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the door is open");
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer comes");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

#[test]
fn a_cluster_that_is_up_is_reached_from_outside() {
    let scratch = Scratch::new("up");
    // Three neighbouring ports that are free now; below the range from which the kernel gives out others.
    let base = (20_000..30_000)
        .step_by(17)
        .find(|&port| (port..port + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("some ports are free");
    let listen = format!("127.0.0.1:{base}");
    let mut child = harness(scratch.path(), &["up", "--nodes", "3", "--listen", &listen])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the harness starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.contains("Ctrl-C"));
    assert!(ready.is_some(), "the cluster came up");

    post(&listen, "/v3/kv/put", r#"{"key":"aGk=","value":"dGhlcmU="}"#);
    let other = format!("127.0.0.1:{}", base + 2);
    let range = post(&other, "/v3/kv/range", r#"{"key":"aGk="}"#);
    assert!(range.contains("dGhlcmU="), "{range}");
    let status = post(&listen, "/v3/maintenance/status", "{}");
    assert!(status.contains("\"leader\":") && status.contains("\"raftTerm\":"), "{status}");

    let second =
        harness(scratch.path(), &["up", "--nodes", "3", "--listen", &listen]).output().expect("it starts");
    assert_eq!(second.status.code(), Some(255), "{}", shown(&second));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&listen), "{}", shown(&second));

    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
    assert!(processes_of(scratch.path()).is_empty());
}

#[test]
fn an_ordinary_user_with_a_tun_device_runs_it_all() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;

    use nix::sys::stat::{Mode, SFlag, makedev, mknod};

    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the other tests ran as an ordinary user already");
        return;
    }
    // A copy that this user may execute, a device that it may open, and a place for its results.
    let scratch = Scratch::new("user");
    let (binary, tun, results) =
        (scratch.path().join("harness"), scratch.path().join("tun"), scratch.path().join("results"));
    fs::copy(env!("CARGO_BIN_EXE_harness"), &binary).expect("a copy");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::create_dir(&results).expect("a place for results");
    chown(&results, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    if let Err(error) = mknod(&tun, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200)) {
        println!("skipped: root may not make a device here: {error}");
        return;
    }
    fs::set_permissions(&tun, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).arg("--tun").arg(&tun).current_dir("/").uid(NOBODY).gid(NOBODY);
        command
    };
    let doctor = as_nobody(&["doctor"]).output().expect("the harness starts");
    if !doctor.status.success() {
        println!("skipped: this machine gives ordinary users no namespaces: {}", shown(&doctor));
        return;
    }
    let args = ["test", "--nodes", "3", "--faults", "kill,partition", "--time-limit", "10", "--json"];
    let output = as_nobody(&args).arg("--results").arg(&results).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(object(&output)["verdict"], "valid");
}
