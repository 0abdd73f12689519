//! What the server and those who hurt the disk share: the tree, the rules, the journal, and who waits for an answer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use nix::errno::Errno;

use super::delay::{Delays, End};
use super::journal::{Fate, Journal};
use super::rules::{Action, Operation, Rules};
use super::tree::Tree;

/// Where the node's data lies, below the root.
pub(super) const DATA: &str = "data";
/// Where probes write, which the node never sees.
pub(super) const PROBES: &str = "probe";

pub(super) struct Shared {
    state: Mutex<State>,
    /// Something has been frozen.
    pub(super) frozen: Condvar,
    pub(super) delays: Arc<Delays>,
}

pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) rules: Rules,
    pub(super) journal: Journal,
    /// What a crash was asked for before, once it has been reached: the operation and its path.
    pub(super) frozen_at: Option<(Operation, String)>,
    held: Vec<Refusal>,
}

/// Answers an operation with an error.
pub(super) type Refusal = Box<dyn FnOnce(Errno) + Send>;

/// What is to be done with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is carried out, in the way that a sync may be hurt.
    Go(Option<Action>),
    /// It fails.
    Fail(Errno),
    /// It is answered when the disk thaws.
    Hold,
}

impl Shared {
    pub(super) fn new(tree: Tree, delays: Arc<Delays>) -> Self {
        let (rules, journal) = (Rules::default(), Journal::new());
        let state = State { tree, rules, journal, frozen_at: None, held: Vec::new() };
        Self { state: Mutex::new(state), frozen: Condvar::new(), delays }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Answers with EIO what is held by a freeze now.
    pub(super) fn refuse_held(&self) {
        let held = std::mem::take(&mut self.lock().held);
        held.into_iter().for_each(|refuse| refuse(Errno::EIO));
    }

    /// Answers everything that waits with EIO. What comes later is not touched.
    pub(super) fn abandon(&self) {
        self.refuse_held();
        self.delays.give_up(End::Abandoned);
    }

    /// Asks the rules about an operation, and takes down those that they let fail or hold.
    pub(super) fn admit(&self, state: &mut State, operation: Operation, path: &Arc<str>) -> Admission {
        let by_probe = path.starts_with(PROBES);
        let changes = operation != Operation::Read;
        if state.frozen_at.is_some() && changes && !by_probe {
            return Admission::Hold;
        }
        let within = path.strip_prefix(DATA).and_then(|path| path.strip_prefix('/')).unwrap_or(path);
        let is_sync = matches!(operation, Operation::Fsync | Operation::FsyncDirectory);
        let (admission, fate) = match state.rules.decide(operation, within, by_probe) {
            None => return Admission::Go(None),
            Some(Action::Fail(errno)) => (Admission::Fail(errno), Fate::Failed),
            Some(action @ (Action::FailAndForget(_) | Action::Lie | Action::Delay(_))) => {
                // The others know nothing of pages that are dirty; they pass.
                return Admission::Go(is_sync.then_some(action));
            }
            Some(Action::Freeze) => {
                state.frozen_at = Some((operation, within.to_owned()));
                self.frozen.notify_all();
                (Admission::Hold, Fate::Frozen)
            }
        };
        state.journal.note(operation, path, 0, 0, fate);
        admission
    }
}

impl State {
    /// Keeps an operation waiting.
    pub(super) fn hold(&mut self, refuse: impl FnOnce(Errno) + Send + 'static) {
        self.held.push(Box::new(refuse));
    }
}

pub(super) const UNPOISONED: &str = "nobody panics while holding the disk";
