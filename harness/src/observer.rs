//! Who leads, as far as the nodes' traces tell: for the progress line, and for faults that aim at the leader.
//!
//! A thread reads what the nodes append to their traces. It sees a change of leader some milliseconds after the
//! node itself; nothing is judged by it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use checkers::history::NodeId;
use serde::Deserialize;

/// How often the traces are read.
const PERIOD: Duration = Duration::from_millis(10);

/// Follows the traces of all nodes until it is dropped.
pub struct Observer {
    view: Arc<Mutex<View>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct View {
    nodes: BTreeMap<NodeId, NodeView>,
    /// The newest term and leader seen, and how often that pair has changed.
    newest: Option<(u64, NodeId)>,
    changes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct NodeView {
    /// The term in which it leads, if it does.
    leads: Option<u64>,
}

impl Observer {
    /// Begins to follow the traces.
    pub fn start(traces: Vec<(NodeId, PathBuf)>) -> std::io::Result<Self> {
        let view = Arc::new(Mutex::new(View::default()));
        let end = Arc::new(AtomicBool::new(false));
        let mut tails = traces
            .into_iter()
            .map(|(node, path)| Tail { node, path, file: None, rest: Vec::new() })
            .collect::<Vec<_>>();
        let thread = thread::Builder::new().name("observer".into()).spawn({
            let (view, end) = (Arc::clone(&view), Arc::clone(&end));
            move || {
                while !end.load(Ordering::Relaxed) {
                    for tail in &mut tails {
                        tail.read(&view);
                    }
                    thread::sleep(PERIOD);
                }
            }
        })?;
        Ok(Self { view, end, thread: Some(thread) })
    }

    /// The node that leads the highest term known, and that term. It may be down or cut off by now.
    pub fn leader(&self) -> Option<(NodeId, u64)> {
        let view = self.view.lock().expect("the observer does not panic");
        view.nodes.iter().filter_map(|(&node, seen)| Some((node, seen.leads?))).max_by_key(|&(_, term)| term)
    }

    /// How often leadership has passed to another node or term since the first leader.
    pub fn leader_changes(&self) -> u64 {
        self.view.lock().expect("the observer does not panic").changes
    }

    /// Forgets that a node leads: its process is gone.
    pub fn down(&self, node: NodeId) {
        self.view.lock().expect("the observer does not panic").nodes.entry(node).or_default().leads = None;
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only panics with a poisoned lock, and then somebody else's panic is the news.
            let _ = thread.join();
        }
    }
}

/// The part of a trace line that matters here.
#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    term: u64,
}

struct Tail {
    node: NodeId,
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    fn read(&mut self, view: &Mutex<View>) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        // An error here costs a progress line; the checkers read the file again and report it.
        if file.read_to_end(&mut self.rest).is_err() {
            return;
        }
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return };
        let lines = self.rest.drain(..=end).collect::<Vec<_>>();
        for line in lines.split(|&byte| byte == b'\n') {
            // Appends and applies are nearly all of a trace, and say nothing about leadership.
            let relevant = [&b"\"role\""[..], b"\"boot\"", b"\"event\":\"term\""];
            if relevant.iter().any(|word| line.windows(word.len()).any(|window| window == *word))
                && let Ok(line) = serde_json::from_slice::<Line>(line)
            {
                view.lock().expect("nobody panics with the view locked").see(self.node, &line);
            }
        }
    }
}

impl View {
    fn see(&mut self, node: NodeId, line: &Line) {
        let leads = line.event == "role" && line.role.as_deref() == Some("leader");
        self.nodes.entry(node).or_default().leads = leads.then_some(line.term);
        let newer = self.newest.is_none_or(|(term, _)| line.term > term);
        if leads && newer {
            if self.newest.is_some() {
                self.changes += 1;
            }
            self.newest = Some((line.term, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use super::*;

    #[test]
    fn leadership_is_read_from_the_traces_as_they_grow() {
        let path = std::env::temp_dir().join(format!("observer-{}.jsonl", std::process::id()));
        let mut trace = File::create(&path).expect("a temporary file");
        let observer = Observer::start(vec![(NodeId(2), path.clone())]).expect("a thread");
        let wait = |leader: Option<(NodeId, u64)>| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while observer.leader() != leader {
                assert!(Instant::now() < deadline, "{leader:?} was not seen");
                thread::sleep(PERIOD);
            }
        };
        wait(None);
        // A line in two pieces is one line.
        trace.write_all(br#"{"event":"role","role":"leader","#).expect("write");
        trace.write_all(b"\"term\":3}\n").expect("write");
        wait(Some((NodeId(2), 3)));
        trace.write_all(b"{\"event\":\"role\",\"role\":\"follower\",\"term\":4}\n").expect("write");
        wait(None);
        trace.write_all(b"{\"event\":\"role\",\"role\":\"leader\",\"term\":5}\n").expect("write");
        wait(Some((NodeId(2), 5)));
        assert_eq!(observer.leader_changes(), 1);
        std::fs::remove_file(path).expect("the temporary file is ours");
    }
}
