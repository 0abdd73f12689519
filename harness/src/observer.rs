//! Who leads and how far each node is, as far as the nodes' traces tell: for the progress line, for faults that aim at the
//! leader, and for steps that wait for an event.
//!
//! A thread reads what the nodes append to their traces. It sees a change of leader some milliseconds after the
//! node itself; nothing is judged by it. What clients were answered is not in the traces: they say it themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use checkers::history::NodeId;
use nemesis::signals::{NodeSignals, Signals};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Nobody panics while holding the view, so its lock is never poisoned.
const UNPOISONED: &str = "nobody panics with the view locked";

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

#[derive(Clone, Debug, Default)]
struct NodeView {
    /// The term in which it leads, if it does.
    leads: Option<u64>,
    signals: NodeSignals,
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
        self.view.lock().expect(UNPOISONED).leader()
    }

    /// How often leadership has passed to another node or term since the first leader.
    pub fn leader_changes(&self) -> u64 {
        self.view.lock().expect(UNPOISONED).changes
    }

    /// A client was answered through this node.
    pub fn acknowledged(&self, node: NodeId) {
        let mut view = self.view.lock().expect(UNPOISONED);
        view.nodes.entry(node).or_default().signals.acknowledged += 1;
    }

    /// What the nodes have shown so far. Whether the leader is up is not known here.
    pub fn signals(&self) -> Signals {
        let view = self.view.lock().expect(UNPOISONED);
        Signals {
            leader: view.leader().map(|(node, _)| node),
            elections: view.newest.map_or(0, |_| view.changes + 1),
            nodes: view.nodes.iter().map(|(&node, seen)| (node, seen.signals.clone())).collect(),
        }
    }

    /// Forgets that a node leads: its process is gone.
    pub fn down(&self, node: NodeId) {
        self.view.lock().expect(UNPOISONED).nodes.entry(node).or_default().leads = None;
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

/// The part of a trace line that matters here. Nodes may tell more, and events that are not known here only count.
#[derive(Deserialize)]
struct Line<'a> {
    event: Cow<'a, str>,
    role: Option<Cow<'a, str>>,
    #[serde(default)]
    term: u64,
    #[serde(default)]
    index: u64,
    #[serde(default)]
    first_index: u64,
    #[serde(default)]
    from_index: u64,
    #[serde(default)]
    last_index: u64,
    #[serde(default)]
    entries: Vec<IgnoredAny>,
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
        let parsed = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let parsed =
            parsed.filter_map(|line| serde_json::from_slice::<Line<'_>>(line).ok()).collect::<Vec<_>>();
        let mut view = view.lock().expect(UNPOISONED);
        for line in &parsed {
            view.see(self.node, line);
        }
    }
}

impl View {
    fn leader(&self) -> Option<(NodeId, u64)> {
        self.nodes.iter().filter_map(|(&node, seen)| Some((node, seen.leads?))).max_by_key(|&(_, term)| term)
    }

    fn see(&mut self, node: NodeId, line: &Line<'_>) {
        let seen = self.nodes.entry(node).or_default();
        count(&mut seen.signals, line);
        if !matches!(&*line.event, "role" | "boot" | "term") {
            return;
        }
        let leads = line.event == "role" && line.role.as_deref() == Some("leader");
        seen.leads = leads.then_some(line.term);
        let newer = self.newest.is_none_or(|(term, _)| line.term > term);
        if leads && newer {
            if self.newest.is_some() {
                self.changes += 1;
            }
            self.newest = Some((line.term, node));
        }
    }
}

/// Adds a line of its trace to what is known of a node.
fn count(signals: &mut NodeSignals, line: &Line<'_>) {
    match signals.events.get_mut(&*line.event) {
        Some(times) => *times += 1,
        None => drop(signals.events.insert(line.event.to_string(), 1)),
    }
    match &*line.event {
        "role" => {
            let role = format!("role {}", line.role.as_deref().unwrap_or_default());
            *signals.events.entry(role).or_default() += 1;
        }
        "boot" => signals.last_index = line.last_index,
        "append" => signals.last_index = (line.first_index + line.entries.len() as u64).saturating_sub(1),
        "truncate" => signals.last_index = line.from_index.saturating_sub(1),
        "commit" => signals.commit_index = signals.commit_index.max(line.index),
        // What a snapshot holds was committed.
        "restore" => {
            signals.commit_index = signals.commit_index.max(line.index);
            signals.last_index = signals.last_index.max(line.index);
        }
        _ => (),
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
        observer.acknowledged(NodeId(2));
        let lines = [
            r#"{"event":"append","term":5,"first_index":4,"entries":[[5,"a"],[5,"b"]]}"#,
            r#"{"event":"commit","term":5,"index":4,"entry_term":5}"#,
            r#"{"event":"something-new","index":99}"#,
        ];
        trace.write_all((lines.join("\n") + "\n").as_bytes()).expect("write");
        let deadline = Instant::now() + Duration::from_secs(20);
        let seen = loop {
            let signals = observer.signals();
            let node = signals.nodes[&NodeId(2)].clone();
            if node.events.contains_key("something-new") {
                assert_eq!((signals.leader, signals.elections), (Some(NodeId(2)), 2));
                break node;
            }
            assert!(Instant::now() < deadline, "the last line was not seen");
            thread::sleep(PERIOD);
        };
        assert_eq!((seen.acknowledged, seen.last_index, seen.commit_index), (1, 5, 4));
        assert_eq!((seen.events["role leader"], seen.events["append"]), (2, 1));
        std::fs::remove_file(path).expect("the temporary file is ours");
    }
}
