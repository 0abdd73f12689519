//! The faulty disk as programs see it: through the kernel, from processes of their own.
//!
//! A rule that did nothing would fail its test, and so would one that did more than it says, or stayed.

mod disk_support;
mod net_support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use disk_support::{Directory, Mounted};
use nemesis::disk::{Action, FaultyDisk, Mode, Operation, Pattern, Rule, Unsynced, self_test};
use nemesis::net::{Request, Sandbox, enter};
use nemesis::target::Rng;
use net_support::{Case, eventually};
use nix::errno::Errno;

const CASES: &[Case<Sandbox>] = &[
    ("files_are_as_on_any_disk", files_are_as_on_any_disk),
    ("mappings_locks_and_preallocation_work", mappings_locks_and_preallocation_work),
    ("a_power_loss_takes_what_was_not_synced", a_power_loss_takes_what_was_not_synced),
    (
        "names_need_a_sync_of_their_directory_in_strict_mode",
        names_need_a_sync_of_their_directory_in_strict_mode,
    ),
    ("a_rule_hurts_its_operation_on_its_path_alone", a_rule_hurts_its_operation_on_its_path_alone),
    ("a_sync_that_lies_loses_at_the_next_power_loss", a_sync_that_lies_loses_at_the_next_power_loss),
    ("a_failed_sync_is_not_made_up_for_by_the_next", a_failed_sync_is_not_made_up_for_by_the_next),
    (
        "a_slow_sync_takes_as_long_as_asked_and_holds_up_nothing_else",
        a_slow_sync_takes_as_long_as_asked_and_holds_up_nothing_else,
    ),
    (
        "a_process_that_waits_for_a_slow_sync_can_be_killed",
        a_process_that_waits_for_a_slow_sync_can_be_killed,
    ),
    (
        "a_freeze_stops_before_the_operation_and_everything_after_it",
        a_freeze_stops_before_the_operation_and_everything_after_it,
    ),
    ("a_flipped_bit_is_read_and_survives_a_power_loss", a_flipped_bit_is_read_and_survives_a_power_loss),
    ("a_disk_that_is_full_by_its_capacity_says_so", a_disk_that_is_full_by_its_capacity_says_so),
    ("a_dump_holds_what_programs_see", a_dump_holds_what_programs_see),
    ("a_dropped_disk_leaves_no_mount", a_dropped_disk_leaves_no_mount),
    ("nothing_is_left_of_a_harness_that_was_killed", nothing_is_left_of_a_harness_that_was_killed),
    ("a_directory_is_listed_while_files_come_and_go", a_directory_is_listed_while_files_come_and_go),
];

fn main() {
    if disk_support::role().is_some() {
        std::process::exit(disk_support::play());
    }
    net_support::require_tier();
    if let Err(reason) = self_test() {
        println!("skipped: {reason}; {}", reason.help);
        std::process::exit(if std::env::var_os("CI").is_some_and(|value| value == "true") { 101 } else { 0 });
    }
    let request = Request { tun: net_support::tun(), host_listeners: Vec::new() };
    let sandbox = enter(&request).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    net_support::run(CASES, &sandbox)
}

fn rule(operation: Operation, path: &str, action: Action) -> Rule {
    let (operations, path) = (vec![operation], Pattern::new(path));
    Rule { operations, path, skip: 0, times: None, percent: 100, action, seed: 1 }
}

fn lose(mounted: &Mounted, mode: Mode) -> String {
    mounted.disk.lose_power(mode, Unsynced::Lost, &mut Rng::new(1, 1)).to_string()
}

fn files_are_as_on_any_disk(_: &Sandbox) {
    let mounted = Mounted::new();
    let said = mounted
        .run("write log 0 hello; append log _world; cat log; cut log 3; cat log; write log 5 x; cat log");
    assert_eq!(said, "hello_world\nhel\nhel\0\0x");
    let said = mounted.run("mkdir d; write d/a 0 1; mv d/a b; ls; cat b; rm b; ls; cat b; rm d; mkdir d");
    assert_eq!(said, "b d log\n1\nd log\ncat b: ENOENT\nrm d: EISDIR\nmkdir d: EEXIST");
    // Beyond what the kernel writes at once.
    assert_eq!(mounted.run("fill big 3000000 z; cat big").len(), 3_000_000);
}

fn mappings_locks_and_preallocation_work(_: &Sandbox) {
    let mounted = Mounted::new();
    assert_eq!(
        mounted.run("allocate log 4096; map log mapped; write log 6 !; cat log").trim_end_matches('\0'),
        "mapped!"
    );
    assert_eq!(lose(&mounted, Mode::Ext4), "data/log: 1 unsynced pages lost, 4096 → 4096 bytes");
    assert_eq!(
        mounted.run("cat log").trim_end_matches('\0'),
        "mapped",
        "msync is a sync, the write after it is not"
    );
    let mut holder = mounted.spawn("lock LOCK; say held; sleep");
    wait_for(&mut holder, "held");
    assert_eq!(mounted.run("lock LOCK"), "lock LOCK: EAGAIN");
    holder.kill().expect("it sleeps");
    holder.wait().expect("it is our child");
    assert_eq!(mounted.run("lock LOCK"), "");
}

fn a_power_loss_takes_what_was_not_synced(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("write log 0 synced; sync log; append log _and_not; write other 0 x; say done");
    let paths = ["data/log".to_owned(), "data/other".to_owned()];
    let before = mounted.disk.look(&paths).expect("files are read");
    let lost = lose(&mounted, Mode::Ext4);
    assert_eq!(
        lost,
        "data/log: 1 unsynced pages lost, 14 → 6 bytes; data/other: 1 unsynced pages lost, 1 → 0 bytes; \
         data/other: the name is gone"
    );
    let after = mounted.disk.look(&paths).expect("files are read");
    assert_eq!(
        before.iter().map(|seen| seen.map(|seen| seen.bytes)).collect::<Vec<_>>(),
        [Some(14), Some(1)]
    );
    assert_eq!(after.iter().map(|seen| seen.map(|seen| seen.bytes)).collect::<Vec<_>>(), [Some(6), None]);
    assert_eq!(mounted.run("cat log; ls"), "synced\nlog");
}

fn names_need_a_sync_of_their_directory_in_strict_mode(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("write a 0 1; sync a; sync .; write b 0 2; sync b");
    assert_eq!(lose(&mounted, Mode::Strict), "data/b: the name is gone");
    assert_eq!(mounted.run("ls; cat a"), "a\n1");
    mounted.run("write b 0 2; sync b");
    assert_eq!(lose(&mounted, Mode::Ext4), "nothing was unsynced");
    assert_eq!(mounted.run("ls; cat b"), "a b\n2");
}

fn a_rule_hurts_its_operation_on_its_path_alone(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("write a.wal 0 1; write b 0 2");
    let probe =
        |pattern: &str| mounted.disk.probe(&Pattern::new(pattern), Duration::ZERO).expect("it answers");
    let id =
        mounted.disk.arm(Rule { skip: 1, ..rule(Operation::Write, "*.wal", Action::Fail(Errno::ENOSPC)) });
    assert_eq!(probe("*.wal").write, Err(Errno::ENOSPC));
    assert_eq!((probe("*.wal").sync, probe("*.wal").create, probe("other").write), (Ok(()), Ok(()), Ok(())));
    let said = mounted.run("write b 0 3; write a.wal 0 4; write a.wal 0 5; sync a.wal; cat a.wal");
    assert_eq!(said, "write a.wal 0 5: ENOSPC\n4", "the first is let pass, probes are not counted");
    assert_eq!(mounted.disk.hits(id), 1);
    assert_eq!(mounted.disk.disarm(id), 1);
    assert_eq!(probe("*.wal").write, Ok(()));
    assert_eq!(mounted.run("write a.wal 0 6; cat a.wal"), "6");
    mounted.disk.arm(rule(Operation::Read, "*", Action::Fail(Errno::EIO)));
    assert_eq!(mounted.run("cat b"), "cat b: EIO");
    assert_eq!(probe("*").read, Err(Errno::EIO));
    assert_eq!(mounted.disk.disarm_all(), 1);
    assert_eq!(mounted.run("cat b"), "3");
}

fn a_sync_that_lies_loses_at_the_next_power_loss(_: &Sandbox) {
    let mounted = Mounted::new();
    let id = mounted.disk.arm(Rule { times: Some(1), ..rule(Operation::Fsync, "*", Action::Lie) });
    assert_eq!(mounted.run("write log 0 one; sync log; cat log"), "one");
    assert_eq!(mounted.disk.counts().dropped_pages, 1);
    assert_eq!(mounted.disk.disarm(id), 1);
    assert_eq!(mounted.run("write other 0 two; sync other"), "");
    lose(&mounted, Mode::Ext4);
    assert_eq!(mounted.run("cat other; cat log; say end"), "two\n\nend");
}

fn a_failed_sync_is_not_made_up_for_by_the_next(_: &Sandbox) {
    for (action, left) in [(Action::FailAndForget(Errno::EIO), "\0\0\0"), (Action::Fail(Errno::EIO), "one")] {
        let mounted = Mounted::new();
        mounted.disk.arm(Rule { times: Some(1), ..rule(Operation::Fsync, "*", action) });
        assert_eq!(mounted.run("write log 0 one; sync log; sync log; cat log"), "sync log: EIO\none");
        lose(&mounted, Mode::Ext4);
        assert_eq!(mounted.run("cat log"), left, "{action:?}");
    }
}

fn a_slow_sync_takes_as_long_as_asked_and_holds_up_nothing_else(_: &Sandbox) {
    let mounted = Mounted::new();
    let delay = Duration::from_millis(400);
    let id = mounted.disk.arm(rule(Operation::Fsync, "*", Action::Delay(delay)));
    let slow = mounted.disk.probe(&Pattern::new("*"), delay).expect("it answers");
    assert!(slow.sync_time >= delay, "{:?}", slow.sync_time);
    let mut child = mounted.spawn("write log 0 x; say wrote; sync log; say synced");
    let mut output = wait_for(&mut child, "wrote");
    assert_eq!(mounted.run("write other 0 y; cat other"), "y");
    // The sync is under way or yet to come; what counts is that until its end nothing is durable.
    assert!(mounted.disk.unsynced(Mode::Ext4).to_string().contains("data/log"));
    std::io::Read::read_to_string(&mut output, &mut String::new()).expect("text");
    child.wait().expect("it is our child");
    assert!(!mounted.disk.unsynced(Mode::Ext4).files.iter().any(|file| file.path == "data/log"));
    mounted.disk.disarm(id);
    let quick = mounted.disk.probe(&Pattern::new("*"), Duration::ZERO).expect("it answers");
    assert!(quick.sync_time < delay, "{:?}", quick.sync_time);
}

fn a_process_that_waits_for_a_slow_sync_can_be_killed(_: &Sandbox) {
    let mounted = Mounted::new();
    let delay = Duration::from_secs(60);
    mounted.disk.arm(rule(Operation::Fsync, "*", Action::Delay(delay)));
    let mut child = mounted.spawn("write log 0 x; say wrote; sync log");
    wait_for(&mut child, "wrote");
    child.kill().expect("it is our child");
    let began = Instant::now();
    eventually("its end", Duration::from_secs(10), || {
        mounted.disk.abandon();
        child.try_wait().expect("it is our child").is_some()
    });
    assert!(began.elapsed() < delay);
    assert_eq!(mounted.disk.unsynced(Mode::Ext4).files.len(), 1, "an abandoned sync saves nothing");
}

fn a_freeze_stops_before_the_operation_and_everything_after_it(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("write log 0 old; sync log; sync .");
    mounted.disk.arm(Rule { skip: 1, times: Some(1), ..rule(Operation::Rename, "*.tmp", Action::Freeze) });
    assert_eq!(mounted.disk.wait_until_frozen(Duration::from_millis(20)), None);
    let mut child =
        mounted.spawn("write a.tmp 0 1; mv a.tmp a; write b.tmp 0 2; sync b.tmp; mv b.tmp b; write c 0 3");
    let frozen = mounted.disk.wait_until_frozen(Duration::from_secs(10));
    assert_eq!(frozen, Some((Operation::Rename, "b.tmp".to_owned())));
    // Nobody can look at it meanwhile: the kernel keeps the directory locked for the rename.
    child.kill().expect("it is our child");
    eventually("its end", Duration::from_secs(10), || {
        mounted.disk.abandon();
        child.try_wait().expect("it is our child").is_some()
    });
    lose(&mounted, Mode::Ext4);
    mounted.disk.thaw();
    assert_eq!(mounted.run("ls; cat b.tmp; write c 0 3; cat c"), "a b.tmp log\n2\n3");
}

fn a_flipped_bit_is_read_and_survives_a_power_loss(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("write log 0 abc; sync log");
    assert_eq!(mounted.disk.byte("data/log", 1).expect("it is read"), b'b');
    assert_eq!(mounted.disk.flip("data/log", 1, 0), Some(b'c'));
    assert_eq!(mounted.disk.flip("data/log", 3, 0), None, "there are three bytes");
    assert_eq!(mounted.disk.byte("data/log", 1).expect("it is read"), b'c');
    assert_eq!(mounted.run("cat log"), "acc");
    lose(&mounted, Mode::Strict);
    lose(&mounted, Mode::Ext4);
    let mounted = Mounted::new();
    mounted.run("write log 0 abc; sync log; sync .; write log 2 d");
    mounted.disk.flip("data/log", 0, 1);
    mounted.disk.flip("data/log", 2, 0);
    lose(&mounted, Mode::Strict);
    assert_eq!(mounted.run("cat log"), "cbc", "what was not durable is lost with its flipped bit");
}

fn a_disk_that_is_full_by_its_capacity_says_so(_: &Sandbox) {
    let mounted = Mounted::with_capacity(64 << 10);
    let said = mounted.run("fill log 100000 z");
    assert_eq!(said, "fill log 100000 z: ENOSPC");
    assert!(mounted.disk.refused_by_capacity() >= 1);
    assert_eq!(mounted.run("rm log; sync .; write log 0 x; cat log"), "x", "room comes back");
}

fn a_dump_holds_what_programs_see(_: &Sandbox) {
    let mounted = Mounted::new();
    mounted.run("mkdir d; write d/a 0 1; write b 0 2; sync b");
    let to = Directory::new();
    mounted.disk.dump_to(&to.0).expect("it can be written");
    assert_eq!(fs::read_to_string(to.0.join("d/a")).expect("it is there"), "1");
    assert_eq!(fs::read_to_string(to.0.join("b")).expect("it is there"), "2");
    assert!(
        mounted.disk.journal().contains("data/b: 1 writes of 1 bytes, 1 syncs"),
        "{}",
        mounted.disk.journal()
    );
}

fn a_dropped_disk_leaves_no_mount(_: &Sandbox) {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("it is readable");
    let mounted = Mounted::new();
    let at = mounted.at.0.display().to_string();
    assert!(mounts().contains(&at));
    // Somebody may still have a file open on it; what is left then is theirs.
    let mut holder = mounted.spawn("lock LOCK; say held; sleep");
    wait_for(&mut holder, "held");
    drop(mounted);
    assert!(!mounts().contains(&at));
    holder.kill().expect("it sleeps");
    holder.wait().expect("it is our child");
}

fn a_directory_is_listed_while_files_come_and_go(_: &Sandbox) {
    let mounted = Mounted::new();
    let writes =
        (0..300).map(|number| format!("write some-longer-name-to-need-several-calls-{number:04} 0 x"));
    mounted.run(&writes.collect::<Vec<_>>().join(";"));
    // `rm` removes what it has listed before it lists the rest.
    let removed =
        Command::new("rm").arg("-r").arg(mounted.disk.data()).status().expect("every system has it");
    assert!(!mounted.disk.data().exists() && removed.success());
}

/// Also where a node waits for its disk, which only the dead harness could answer.
fn nothing_is_left_of_a_harness_that_was_killed(_: &Sandbox) {
    for end in ["outside", "killed"] {
        let mut child = disk_support::sandbox(end).spawn().expect("a test can start its own binary");
        let mut output = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut output, &mut line).expect("text");
            line.trim().to_owned()
        };
        let at = line();
        assert_eq!(line(), "ready");
        if end == "outside" {
            child.kill().expect("it is our child");
        }
        child.wait().expect("it is our child");
        // The pipe ends with the last process that has it: the one that waits for its disk among them.
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            std::io::Read::read_to_string(&mut output, &mut String::new()).expect("text");
            sender.send(())
        });
        ended.recv_timeout(Duration::from_secs(10)).expect("every process has ended");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is readable");
        assert!(!mounts.contains(&at));
        fs::remove_dir(&at).expect("nothing is mounted on it, and nothing is in it");
    }
}

/// Reads a line of a program.
#[track_caller]
fn wait_for(child: &mut std::process::Child, line: &str) -> impl std::io::Read + use<> {
    let mut output = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = String::new();
    std::io::BufRead::read_line(&mut output, &mut said).expect("text");
    assert_eq!(said.trim(), line);
    output
}
