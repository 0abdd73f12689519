//! Failpoints of the nodes: a file beside each node tells it at which point to die, and a node that died there is told from
//! one that crashed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};

use checkers::history::NodeId;
use nemesis::cluster::{ClusterError, Failpoints};

use super::{Cluster, in_words};

/// What is armed, and who died of it.
#[derive(Debug, Default)]
pub(super) struct Armed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    armed: BTreeSet<NodeId>,
    ended: BTreeMap<NodeId, String>,
}

impl Armed {
    /// Whether a node that ended with this status died at a point that is armed in it; it is remembered then.
    pub(super) fn explains(&self, node: NodeId, status: ExitStatus, at_point: Option<i32>) -> bool {
        let mut state = self.state();
        let explained = state.armed.contains(&node) && at_point.is_some() && status.code() == at_point;
        if explained {
            state.ended.insert(node, in_words(status));
        }
        explained
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding what is armed")
    }
}

impl Failpoints for Cluster {
    fn points(&self) -> &'static [&'static str] {
        self.shared.system.failpoints().map_or(&[], |points| points.usual)
    }

    fn arm(&mut self, node: NodeId, point: &str, nth: u64) -> Result<(), ClusterError> {
        let known = self.shared.system.failpoints().map_or(&[][..], |points| points.all);
        if !known.contains(&point) {
            let reason = format!("there is no point `{point}`; there is {}", known.join(", "));
            return Err(ClusterError::Refused { action: "arm a failpoint of", node, reason });
        }
        let mut state = self.shared.armed.state();
        state.armed.insert(node);
        state.ended.remove(&node);
        drop(state);
        self.tell(node, &format!("{point}=crash@{nth}\n"))
    }

    fn disarm(&mut self, node: NodeId) -> Result<(), ClusterError> {
        // It stays among the armed: the node looks at its file now and then, and may still die.
        self.tell(node, "")
    }

    fn ended(&mut self, node: NodeId) -> Option<String> {
        self.reap();
        self.shared.armed.state().ended.remove(&node)
    }
}

impl Cluster {
    fn tell(&self, node: NodeId, text: &str) -> Result<(), ClusterError> {
        // Without a file the node was started without failpoints, and nothing can be armed in it.
        let Some(path) = &self.shared.specs[&node].failpoints else { return Ok(()) };
        replace(path, text).map_err(|source| ClusterError::Os {
            action: "write the failpoints of",
            node,
            source,
        })
    }
}

/// Written beside and renamed: half a line would be a line.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
