//! The command line as a tired person meets it: mistakes are named, with the way out, and nothing is overwritten.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Scratch, harness, shown};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness")).args(args).output().expect("the harness starts")
}

/// The command ends with this status and says this on standard error.
fn refuses(output: &Output, status: i32, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{}", shown(output));
    for text in says {
        assert!(stderr.contains(text), "missing `{text}` in {}", shown(output));
    }
    assert!(output.stdout.is_empty(), "{}", shown(output));
}

#[test]
fn a_mistyped_fault_is_offered() {
    refuses(&run(&["test", "--faults", "kil"]), 254, &["no fault `kil`", "`kill`"]);
}

#[test]
fn a_mistyped_bug_is_offered() {
    refuses(
        &run(&["test", "--bug", "stale-raed"]),
        254,
        &["there is no bug `stale-raed`", "did you mean `stale-read`?"],
    );
}

#[test]
fn a_mistyped_system_is_offered() {
    refuses(
        &run(&["test", "--system", "raftkv"]),
        254,
        &["there is no system `raftkv`", "did you mean `raft-kv`?"],
    );
}

#[test]
fn a_mistyped_workload_is_offered() {
    refuses(&run(&["test", "--workload", "registers"]), 254, &["did you mean `register`?"]);
}

#[test]
fn a_mistyped_aim_is_offered() {
    refuses(
        &run(&["test", "--aim", "split-vote,two-leader"]),
        254,
        &["there is no situation `two-leader`", "did you mean `two-leaders`?"],
    );
}

#[test]
fn every_situation_is_listed_with_its_source() {
    let output = run(&["list", "situations"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for situation in checkers::SITUATIONS {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{} ", situation.name)));
        assert!(line.is_some_and(|line| line.contains(situation.source)), "{}", shown(&output));
    }
}

#[test]
fn an_unknown_option_is_bad_usage() {
    refuses(&run(&["test", "--fault", "kill"]), 254, &["--faults"]);
}

#[test]
fn impossible_settings_are_refused_before_anything_boots() {
    refuses(&run(&["test", "--nodes", "0"]), 254, &["choose 1 to 99 nodes"]);
    refuses(&run(&["test", "--election-ms", "100"]), 254, &["too short for --heartbeat-ms"]);
    refuses(&run(&["test", "--time-limit", "1"]), 254, &["time limit"]);
    refuses(&run(&["test", "--time-limit", "18446744073709551615"]), 254, &["--time-limit"]);
    refuses(&run(&["test", "--nodes", "1"]), 254, &["partition", "at least 2 nodes", "--faults"]);
}

#[test]
fn a_missing_tun_device_says_what_to_do() {
    let output = run(&["test", "--tun", "/nonexistent/tun"]);
    refuses(&output, 255, &["/nonexistent/tun", "--tun"]);
}

#[test]
fn results_that_cannot_be_written_are_named() {
    let scratch = Scratch::new("unwritable");
    let file = scratch.path().join("file");
    fs::write(&file, "not a directory").expect("a scratch file");
    let output = harness(&file, &["test"]).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(255), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("failed to create"), "{}", shown(&output));
}

#[test]
fn everything_that_there_is_is_listed() {
    let output = run(&["list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["kill", "partition-ring", "leader", "linearizable", "raft-kv", "register", "forget-vote"] {
        assert!(text.contains(&format!("  {name} ")), "missing {name} in\n{text}");
    }
}

#[test]
fn each_fault_is_listed_with_what_it_needs_and_the_doctor_agrees() {
    let list = run(&["list", "faults"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let doctor = run(&["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(list.contains("period_ms: time between two restarts"), "{list}");
    assert!(list.contains("not in `all`: "), "{list}");
    for fault in nemesis::faults::FAULTS {
        assert!(list.contains(&format!("  {} ", fault.name())), "{} in\n{list}", fault.name());
        let needs = format!("needs {}: ", fault.needs());
        let lacks = list.contains(&format!("{needs}NO"));
        assert!(lacks || list.contains(&format!("{needs}yes")), "{needs} in\n{list}");
        let refused =
            |line: &str| line.contains(&format!("faults on {} ", fault.needs())) && line.contains("NO ");
        assert_eq!(lacks, doctor.lines().any(refused), "{needs}\n{list}\n{doctor}");
    }
}

#[test]
fn a_run_that_does_not_exist_is_bad_usage() {
    refuses(&run(&["check", "/nonexistent/run"]), 254, &["/nonexistent/run", "results/latest"]);
}

const HEADER: &str =
    r#"{"format":1,"kind":"history","origin_ns":0,"system":"raft-kv","workload":"register","seed":1}"#;

fn check(name: &str, text: &str) -> (Output, Scratch) {
    let scratch = Scratch::new(name);
    let path = scratch.path().join("history.jsonl");
    fs::write(&path, text).expect("a scratch file");
    (run(&["check", &path.display().to_string()]), scratch)
}

fn untouched(scratch: &Scratch, text: &str) {
    assert_eq!(fs::read_to_string(scratch.path().join("history.jsonl")).expect("it is still there"), text);
    assert_eq!(fs::read_dir(scratch.path()).expect("the scratch directory").count(), 1, "nothing was added");
}

#[test]
fn a_history_that_stands_alone_is_judged() {
    let text = [
        HEADER,
        r#"{"time":1,"type":"invoke","process":0,"f":"write","key":"x","value":1}"#,
        r#"{"time":2,"type":"ok","process":0,"reply":"write"}"#,
        r#"{"time":3,"type":"invoke","process":1,"f":"read","key":"x"}"#,
        r#"{"time":4,"type":"ok","process":1,"reply":"read","value":null}"#,
    ];
    let (output, _scratch) = check("lost", &(text.join("\n") + "\n"));
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("INVALID"), "{}", shown(&output));
}

#[test]
fn a_damaged_line_is_named_and_left_alone() {
    let text =
        [HEADER, r#"{"time":1,"type":"invoke","process":0,"f":"write","key":"x"}"#, HEADER].join("\n") + "\n";
    let (output, scratch) = check("damaged", &text);
    refuses(&output, 254, &["line 2", "`value`"]);
    untouched(&scratch, &text);
}

#[test]
fn half_a_line_at_the_end_is_a_warning() {
    let text = [
        HEADER,
        r#"{"time":1,"type":"invoke","process":0,"f":"read","key":"x"}"#,
        r#"{"time":2,"type":"ok","process":0,"reply":"read","value":null}"#,
        r#"{"time":3,"ty"#,
    ]
    .join("\n");
    let (output, scratch) = check("torn", &text);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("warning"), "{}", shown(&output));
    untouched(&scratch, &text);
}

#[test]
fn no_member_depends_where_it_must_not() {
    let manifest = |member: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace")
            .join(member)
            .join("Cargo.toml");
        fs::read_to_string(path).expect("every member has a manifest")
    };
    let members = ["harness", "nemesis", "checkers", "cluster-under-test"];
    let allowed =
        |member: &str, other: &str| member == "harness" || (member == "nemesis" && other == "checkers");
    for member in members {
        let text = manifest(member);
        for other in members.iter().filter(|other| **other != member) {
            let depends = text.lines().any(|line| {
                // `harness = false` is what a benchmark without libtest has in its manifest.
                line.starts_with(&format!("{other}.workspace")) || line.starts_with(&format!("{other} = {{"))
            });
            assert!(!depends || allowed(member, other), "{member} must not depend on {other}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_changes_nothing() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("list")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the harness starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it is our child");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(output.stderr.is_empty(), "{}", shown(&output));
}
