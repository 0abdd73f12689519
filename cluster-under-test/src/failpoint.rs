//! Points at which a node can be told, from outside and while it runs, to die on the spot.
//!
//! A kill from outside falls where it falls; the window between a sync and the answer that it allows is a few
//! microseconds wide. A failpoint puts the crash exactly there.
//!
//! # The contract
//!
//! A node is started with `--failpoints PATH`. The file need not exist; it is read at the start and looked at again
//! with every tick of 10 ms of the node's own clock, so it works while the node is cut off from everybody. It holds one
//! line for each armed point:
//!
//! ```text
//! before-append-sync=crash          die when the point is reached next
//! before-apply=crash@3              die when it is reached for the third time from now on
//! ```
//!
//! A changed file replaces all that was armed (counts start again); an empty or absent file disarms everything. Write
//! it beside and rename it, or in one `write`: half a line is a line. A line that cannot be read arms nothing and is
//! told on standard error.
//!
//! At the point the node writes `failpoint NAME: crash` to standard error and `{"event":"failpoint","name":NAME}` to
//! its trace, and ends with exit status [`EXIT_FAILPOINT`] by `_exit`: no destructor, no flush, nothing later. What was
//! handed to the kernel before stays, what was not synced is for the disk to lose. A file that still arms the point
//! kills the next life too, so whoever armed it disarms it before the node is started again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::trace::{TraceEvent, TraceWriter};

/// The exit status of a node that died at a failpoint.
pub const EXIT_FAILPOINT: i32 = 86;

/// A named point.
#[derive(Debug)]
pub struct Failpoint {
    /// Its name in the file.
    pub name: &'static str,
    /// What has happened when it is reached, and what has not.
    pub about: &'static str,
}

pub(crate) const AFTER_RECOVERY: &Failpoint =
    &Failpoint { name: "after-recovery", about: "the disk was read at a start; nothing was sent" };
pub(crate) const BEFORE_APPEND_SYNC: &Failpoint =
    &Failpoint { name: "before-append-sync", about: "records of the log are written, not synced" };
pub(crate) const AFTER_APPEND_SYNC: &Failpoint = &Failpoint {
    name: "after-append-sync",
    about: "records of the log are synced; the node has not learned of it",
};
pub(crate) const BEFORE_SNAPSHOT_RENAME: &Failpoint = &Failpoint {
    name: "before-snapshot-rename",
    about: "a snapshot is written and synced under its temporary name",
};
pub(crate) const AFTER_SNAPSHOT_RENAME: &Failpoint = &Failpoint {
    name: "after-snapshot-rename",
    about: "a snapshot has its name; the log neither notes it nor is shortened",
};
pub(crate) const BEFORE_VOTE_REPLY: &Failpoint = &Failpoint {
    name: "before-vote-reply",
    about: "a granted vote is durable; the candidate has not been told",
};
pub(crate) const BEFORE_APPEND_REPLY: &Failpoint =
    &Failpoint { name: "before-append-reply", about: "entries are durable; the leader has not been told" };
pub(crate) const BEFORE_APPLY: &Failpoint =
    &Failpoint { name: "before-apply", about: "an entry is committed; it is not applied here" };
pub(crate) const BEFORE_CLIENT_REPLY: &Failpoint = &Failpoint {
    name: "before-client-reply",
    about: "a write is committed and applied; its client has no answer",
};
pub(crate) const BEFORE_SNAPSHOT_INSTALL: &Failpoint = &Failpoint {
    name: "before-snapshot-install",
    about: "the last chunk of a leader's snapshot has arrived; nothing is replaced",
};
pub(crate) const AFTER_LEADER_ELECTED: &Failpoint = &Failpoint {
    name: "after-leader-elected",
    about: "the node has won an election; it has sent nothing as leader",
};
pub(crate) const AFTER_MEMBERS_APPENDED: &Failpoint = &Failpoint {
    name: "after-members-appended",
    about: "a new configuration is in the log in memory; it is not written",
};
pub(crate) const BEFORE_TIMEOUT_NOW: &Failpoint = &Failpoint {
    name: "before-timeout-now",
    about: "a transfer's target is caught up; it has not been told to campaign",
};

/// Every failpoint, in the order in which a node's life reaches them.
pub const FAILPOINTS: &[&Failpoint] = &[
    AFTER_RECOVERY,
    BEFORE_APPEND_SYNC,
    AFTER_APPEND_SYNC,
    BEFORE_SNAPSHOT_RENAME,
    AFTER_SNAPSHOT_RENAME,
    BEFORE_VOTE_REPLY,
    BEFORE_APPEND_REPLY,
    BEFORE_APPLY,
    BEFORE_CLIENT_REPLY,
    BEFORE_SNAPSHOT_INSTALL,
    AFTER_LEADER_ELECTED,
    AFTER_MEMBERS_APPENDED,
    BEFORE_TIMEOUT_NOW,
];

/// Those that a node comes by when clients write, again and again: a follower, or one whose own clients do.
pub const USUAL: &[&Failpoint] =
    &[BEFORE_APPEND_SYNC, AFTER_APPEND_SYNC, BEFORE_APPEND_REPLY, BEFORE_APPLY, BEFORE_CLIENT_REPLY];

/// The failpoint of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Failpoint> {
    FAILPOINTS.iter().copied().find(|point| point.name == name)
}

/// What is armed in one node. Clones share it; the default arms nothing, ever.
#[derive(Clone, Debug, Default)]
pub struct Failpoints(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// So that a point which is not armed costs one load.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The file as it was read last.
    text: String,
    armed: Vec<Armed>,
    trace: TraceWriter,
}

#[derive(Debug, PartialEq, Eq)]
struct Armed {
    name: &'static str,
    /// How often the point is still passed, this time included.
    hits_left: u64,
}

impl Failpoints {
    /// Reads the file, and writes to its own handle of the trace when a point kills: the thread that dies need not
    /// be the one that owns the other.
    #[must_use]
    pub fn watch(path: &Path, trace: TraceWriter) -> Self {
        let state = State { text: String::new(), armed: Vec::new(), trace };
        let shared = Shared { path: path.to_owned(), any: AtomicBool::new(false), state: Mutex::new(state) };
        let failpoints = Self(Some(Arc::new(shared)));
        failpoints.refresh();
        failpoints
    }

    /// Looks at the file again.
    pub fn refresh(&self) {
        let Some(shared) = &self.0 else { return };
        // Absent is empty. It is a few bytes long, and reading them costs hardly more than asking for their date.
        let text = std::fs::read_to_string(&shared.path).unwrap_or_default();
        let mut state = shared.state.lock().expect("no thread panics with the failpoints locked");
        if text == state.text {
            return;
        }
        state.armed = parse(&text);
        state.text = text;
        shared.any.store(!state.armed.is_empty(), Ordering::Release);
    }

    /// Whether reaching some point has a consequence.
    pub(crate) fn is_any_armed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.any.load(Ordering::Acquire))
    }

    /// The point is reached: dies, if it is armed.
    pub(crate) fn hit(&self, point: &'static Failpoint) {
        let Some(shared) = &self.0 else { return };
        if !shared.any.load(Ordering::Acquire) {
            return;
        }
        let mut state = shared.state.lock().expect("no thread panics with the failpoints locked");
        let Some(armed) = state.armed.iter_mut().find(|armed| armed.name == point.name) else { return };
        armed.hits_left -= 1;
        if armed.hits_left == 0 {
            state.trace.push(TraceEvent::Failpoint { name: point.name.to_owned() });
            if let Err(error) = state.trace.flush() {
                eprintln!("failpoint {}: write the trace: {error}", point.name);
            }
            eprintln!("failpoint {}: crash", point.name);
            // SAFETY: _exit takes no pointer and does not return; ending all threads where they stand is its purpose.
            unsafe { libc::_exit(EXIT_FAILPOINT) }
        }
    }
}

fn parse(text: &str) -> Vec<Armed> {
    let mut names = BTreeSet::new();
    let mut armed = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Ok(point) if names.insert(point.name) => armed.push(point),
            Ok(point) => eprintln!("failpoint {}: armed twice, the first line counts", point.name),
            Err(what) => eprintln!("failpoint line {line:?} arms nothing: {what}"),
        }
    }
    armed
}

fn parse_line(line: &str) -> Result<Armed, String> {
    let (name, action) = line.split_once('=').ok_or("NAME=crash or NAME=crash@N is needed")?;
    let name = find(name).ok_or_else(|| format!("there is no failpoint {name}"))?.name;
    let hits_left = match action.split_once('@') {
        None if action == "crash" => 1,
        Some(("crash", nth)) => {
            nth.parse().ok().filter(|nth| *nth > 0).ok_or("the number after @ is counted from 1")?
        }
        None | Some(_) => return Err(format!("there is no action {action}, only crash")),
    };
    Ok(Armed { name, hits_left })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failpoint_is_described_and_found() {
        let names: BTreeSet<_> = FAILPOINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), FAILPOINTS.len(), "names are unique");
        for point in FAILPOINTS {
            assert!(!point.about.is_empty() && find(point.name).is_some(), "{}", point.name);
        }
    }

    #[test]
    fn lines_that_cannot_be_read_arm_nothing() {
        let armed = parse("before-apply=crash@3\n\n nonsense\nbefore-apply=crash\nbefore-vote-reply=crash\n");
        let expected = [("before-apply", 3), ("before-vote-reply", 1)];
        assert_eq!(armed, expected.map(|(name, hits_left)| Armed { name, hits_left }));
        for line in
            ["x=crash", "before-apply", "before-apply=sleep", "before-apply=crash@0", "before-apply=crash@x"]
        {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn points_that_are_not_armed_are_passed() {
        let path = std::env::temp_dir().join(format!("raft-kv-failpoints-{}", std::process::id()));
        Failpoints::default().hit(BEFORE_APPLY);
        let failpoints = Failpoints::watch(&path, TraceWriter::none(1));
        failpoints.hit(BEFORE_APPLY);
        std::fs::write(&path, "before-vote-reply=crash\nbefore-apply=crash@2\n").unwrap();
        failpoints.refresh();
        failpoints.hit(BEFORE_APPLY);
        failpoints.hit(AFTER_APPEND_SYNC);
        std::fs::remove_file(&path).unwrap();
        failpoints.refresh();
        failpoints.hit(BEFORE_APPLY);
        failpoints.hit(BEFORE_VOTE_REPLY);
    }
}
