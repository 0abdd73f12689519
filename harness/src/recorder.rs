//! Writes the history of a run to disk as it happens.
//!
//! Each event is one `write` of one line, so the history survives the death of the harness up to its last event.
//! Time is stamped inside the lock that also orders the lines: an invocation before its request is sent, a
//! completion after its reply was received. A recorded interval contains the real one; too wide can hide an
//! anomaly, too narrow would invent one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use checkers::history::{
    Completion, Event, FaultPhase, Header, NodeId, Op, Outcome, Phase, ProcessId, Receipt, Time, write_line,
};

use checkers::linearizable::{StreamChecker, Violation};
use nemesis::faults::heal::FINAL_HEAL;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// The history of one run, shared by everybody who adds to it.
pub struct Recorder {
    clock: Clock,
    path: PathBuf,
    pen: Mutex<Pen>,
    next_process: AtomicU32,
    counts: Counts,
    in_force: Mutex<Vec<(String, Vec<NodeId>)>>,
    /// The first line that could not be written. The run ends: what is not recorded cannot be judged.
    trouble: Mutex<Option<Error>>,
    stop: Stop,
}

/// Where events go, in one order.
struct Pen {
    file: File,
    /// Judges operations as they are recorded, if somebody wants to know at once.
    live: Option<StreamChecker>,
    /// The first violation that it found.
    violation: Option<Violation>,
}

/// What has been recorded so far, for the progress line.
#[derive(Debug, Default)]
pub struct Counts {
    /// Operations that happened.
    pub ok: AtomicU64,
    /// Operations that did not.
    pub fail: AtomicU64,
    /// Operations of unknown end.
    pub info: AtomicU64,
}

impl Recorder {
    /// Creates the history file with its header. It must not exist yet: nothing recorded is ever overwritten.
    pub fn create(path: &Path, clock: Clock, header: &Header, stop: Stop) -> Result<Self> {
        let mut file = File::options()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|error| Error::io("create the history", path, &error))?;
        file.write_all((header.to_line() + "\n").as_bytes())
            .map_err(|error| Error::io("write the history", path, &error))?;
        Ok(Self {
            clock,
            path: path.to_owned(),
            pen: Mutex::new(Pen { file, live: None, violation: None }),
            next_process: AtomicU32::new(0),
            counts: Counts::default(),
            in_force: Mutex::default(),
            trouble: Mutex::new(None),
            stop,
        })
    }

    /// Judges operations as they are recorded, and asks the run to stop at the event that makes a violation certain.
    pub fn judge_live(&self) {
        self.pen.lock().expect("nobody panics while recording").live = Some(StreamChecker::new());
    }

    /// The violation that ended the run, if one did.
    pub fn violation(&self) -> Option<Violation> {
        self.pen.lock().expect("nobody panics while recording").violation.clone()
    }

    /// A process number that was never used.
    pub fn new_process(&self) -> ProcessId {
        ProcessId(self.next_process.fetch_add(1, Ordering::Relaxed))
    }

    /// An operation is about to be sent.
    pub fn invoke(&self, process: ProcessId, node: NodeId, op: &Op) {
        self.record(|time| Event::Invoke { time, process, node: Some(node), op: op.clone() });
    }

    /// An operation has ended.
    pub fn complete(&self, process: ProcessId, completion: &Completion) {
        let count = match completion {
            Completion::Ok(_) => &self.counts.ok,
            Completion::Fail { .. } => &self.counts.fail,
            Completion::Info { .. } => &self.counts.info,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.record(|time| Event::Complete { time, process, completion: completion.clone() });
    }

    /// The nemesis did something.
    pub fn fault(&self, fault: &str, phase: FaultPhase, nodes: &[NodeId], receipt: &Receipt) {
        let mut in_force = self.in_force.lock().expect("nobody panics with the faults locked");
        match phase {
            FaultPhase::Inject if receipt.outcome == Outcome::Installed => {
                in_force.push((fault.to_owned(), nodes.to_vec()));
            }
            FaultPhase::Inject => (),
            FaultPhase::Heal if fault == FINAL_HEAL => in_force.clear(),
            FaultPhase::Heal => in_force.retain(|(name, hurt)| name != fault || hurt != nodes),
        }
        drop(in_force);
        self.record(|time| Event::Fault {
            time,
            fault: fault.to_owned(),
            phase,
            nodes: nodes.to_vec(),
            receipt: receipt.clone(),
        });
    }

    /// A node died by itself.
    pub fn death(&self, node: NodeId, status: &str, crash: bool, log: &[String]) {
        self.record(|time| Event::Death { time, node, status: status.to_owned(), crash, log: log.to_vec() });
    }

    /// A phase begins. Returns its time.
    pub fn phase(&self, phase: Phase) {
        self.record(|time| Event::Phase { time, phase });
    }

    /// The faults that are installed and not yet healed, for the progress line: `kill n2`.
    pub fn in_force(&self) -> Vec<String> {
        let in_force = self.in_force.lock().expect("nobody panics with the faults locked");
        let nodes = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
        in_force.iter().map(|(fault, hurt)| format!("{fault} {}", nodes(hurt))).collect()
    }

    /// What has been recorded so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Ends the recording: everything is on the disk, or the error says what is not.
    pub fn finish(self) -> Result<()> {
        if let Some(error) = self.trouble.into_inner().expect("nobody panics while recording") {
            return Err(error);
        }
        let pen = self.pen.into_inner().expect("nobody panics while recording");
        pen.file.sync_all().map_err(|error| Error::io("write the history", &self.path, &error))
    }

    fn record(&self, event: impl FnOnce(Time) -> Event) {
        let mut pen = self.pen.lock().expect("nobody panics while recording");
        // After half a line, another one would make it a damaged line in the middle, which nobody can read past.
        if self.trouble.lock().expect("nobody panics while recording").is_some() {
            return;
        }
        let event = event(self.clock.now());
        let line = write_line(&event) + "\n";
        if let Err(error) = pen.file.write_all(line.as_bytes()) {
            let mut trouble = self.trouble.lock().expect("nobody panics while recording");
            trouble.get_or_insert_with(|| Error::io("write the history", &self.path, &error));
            self.stop.request();
        }
        if let Some(violation) = pen.live.as_mut().and_then(|live| live.on_event(&event)) {
            // The first one ends the run; what comes while it ends is judged from the history with everything else.
            pen.live = None;
            pen.violation = Some(violation);
            self.stop.request();
        }
    }
}
