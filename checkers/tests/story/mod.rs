//! Stories: a history or traces in a compact notation, and the finding beside them.
//!
//! ```text
//! # What is shown and why it matters.
//! check linearizable            (or: look split-vote, for a situation)
//! expect nodes n1 n2            (also: kinds read write | ok 10 | fault kill 1 | recovery 5000 | unavailable 2000 | complete)
//! expect situation split-vote   (what the run aims at)
//! expect bound votes at-most 2  (or: at-least)
//! expect consistency sequential (or: stale-within 500, in milliseconds)
//! workload append-list          (which kind of object the keys are; register without it)
//! budget 100                    (configurations; the default without it)
//!
//! 0 invoke write x 1 n2         (process, operation, key, arguments, node)
//! 0 ok     write x 1
//! 1 invoke cas x 1 2
//! 1 ok     cas x 1 2            (or: cas x 1 2 saw 7)
//! 3 ok     read x [1 2]         (a list or set)
//! 4 ok     txn append x 1, r y [] (invoked as: txn append x 1, r y)
//! 2 info   timeout
//! phase recovery
//! fault kill inject installed n1
//! death n1 crash signal 6 (SIGABRT)   (or: death n1 machine …)
//! n1: boot term=1 vote=n2 snapshot=0 last=3@1
//! n1: term 2 | role leader 2 | vote 2 n1 | truncate 3 | durable 3@1 | commit 3@1 in 2
//! n1: append 3@1 a 4@2 b after 1 in 2 | apply 3@1 a state f | snapshot 3@1 taken data f | restore 3 state f
//! n1: members 5 n1 n2 | members-committed 5 | answer leader-alive n3 2 | read 5@1 lease 40 | transfer sent n2 1
//! ----
//! invalid: …
//! ```
//! Each line is 100 ms after the one before, unless it begins with `@SECONDS`. `3@1` is the entry at index 3
//! with term 1. Digests are hexadecimal. To write the findings anew, run with `UPDATE_STORIES=1` and read the
//! difference.

use std::collections::BTreeMap;
use std::path::Path;

use checkers::history::{
    Completion, Event, FaultPhase, Header, MicroOp, NodeId, Op, OpKind, Outcome, Phase, ProcessId, Receipt,
    Reply,
};
use checkers::situations::{self, Observed};
use checkers::trace::{
    Aside, Digest, LogIndex, PreVoteAnswer, Role, SnapshotOrigin, Term, TraceEvent, TraceLine, TransferPhase,
};
use checkers::{
    Bound, Budget, CHECKERS, Consistency, Evidence, Expectations, ExpectedFault, Finding, History, Trace,
};

/// Compares the finding of a story with the one that it tells.
pub(crate) fn check(name: &str) {
    compare(name, |story| render(&story.judge()));
}

/// Compares what a story shows of a situation with what it tells.
pub(crate) fn look(name: &str) {
    compare(name, |story| render_observed(&story.observe()));
}

fn compare(name: &str, tell: impl FnOnce(&Story) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (story, told) = text.split_once("----\n").unwrap_or_else(|| panic!("{name} has no line ----"));
    let found = tell(&Story::read(name, story));
    if std::env::var_os("UPDATE_STORIES").is_some() {
        std::fs::write(&path, format!("{story}----\n{found}")).expect("a story can be written");
    } else {
        assert_eq!(found, told, "{name} ends differently");
    }
}

fn render_observed(observed: &Observed) -> String {
    if let Some(missing) = observed.missing() {
        return format!("missed: {missing}\n");
    }
    let mut text = format!("reached {}\n", observed.times);
    for sighting in &observed.sightings {
        let events: Vec<String> = sighting.events.iter().map(ToString::to_string).collect();
        let seconds = sighting.time as f64 / 1e9;
        text.push_str(&format!("\n{seconds:.3} s: {}\n  see {}\n", sighting.text, events.join(", ")));
    }
    text
}

fn render(finding: &Finding) -> String {
    let mut text = format!("{}: {}\n", finding.verdict, finding.summary);
    for anomaly in &finding.anomalies {
        text.push_str(&format!("\n{}\n", anomaly.title));
        for line in &anomaly.text {
            text.push_str(&format!("  {line}\n"));
        }
        if !anomaly.events.is_empty() {
            let events: Vec<String> = anomaly.events.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  see {}\n", events.join(", ")));
        }
    }
    text
}

struct Story {
    name: String,
    /// What judges it, or what it is looked through for.
    subject: String,
    evidence: Evidence,
    budget: Budget,
}

impl Story {
    fn judge(&self) -> Finding {
        let checker = CHECKERS.iter().find(|checker| checker.name() == self.subject);
        let checker = checker.unwrap_or_else(|| panic!("{} names no known checker", self.name));
        checker.check(&self.evidence, self.budget)
    }

    fn observe(&self) -> Observed {
        let mut all = situations::observe(&self.evidence).into_iter();
        let observed = all.find(|observed| observed.name == self.subject);
        observed.unwrap_or_else(|| panic!("{} names no known situation", self.name))
    }

    fn read(name: &str, text: &str) -> Story {
        let mut subject = String::new();
        let mut budget = Budget::default();
        let mut workload = "register".to_owned();
        let mut expectations = Expectations::default();
        let mut events = Vec::new();
        let mut traces: BTreeMap<NodeId, Vec<TraceLine>> = BTreeMap::new();
        let mut time = 900_000_000;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = Words { name, line, words: line.split_whitespace().collect() };
            if let Some(seconds) = words.peek().strip_prefix('@') {
                time = (seconds.parse::<f64>().expect("seconds") * 1e9) as u64;
                words.next();
            } else {
                time += 100_000_000;
            }
            match words.peek() {
                "check" | "look" => {
                    words.next();
                    time -= 100_000_000;
                    subject = words.next().to_owned();
                }
                "workload" => {
                    words.next();
                    time -= 100_000_000;
                    workload = words.next().to_owned();
                }
                "budget" => {
                    words.next();
                    time -= 100_000_000;
                    budget.configurations = words.number();
                }
                "expect" => {
                    words.next();
                    time -= 100_000_000;
                    words.expectation(&mut expectations);
                }
                word if word.ends_with(':') => {
                    let node = word.trim_end_matches(':').parse().expect("a node");
                    words.next();
                    let event = words.trace_event();
                    traces.entry(node).or_default().push(TraceLine { at_ns: time, event });
                }
                _ => events.push(words.event(time)),
            }
        }
        let header = Header { origin_ns: 0, system: "story".into(), workload, seed: 0 };
        let history = History::new(header, events).unwrap_or_else(|error| panic!("{name}: {error}"));
        let traces = traces
            .into_iter()
            .map(|(node, lines)| Trace::new(&format!("nodes/{node}/trace.jsonl"), node, lines))
            .collect();
        Story { name: name.to_owned(), subject, evidence: Evidence { history, traces, expectations }, budget }
    }
}

struct Words<'a> {
    name: &'a str,
    line: &'a str,
    words: std::collections::VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn fail(&self, wanted: &str) -> ! {
        panic!("{}: expected {wanted} in `{}`", self.name, self.line)
    }

    fn peek(&self) -> &'a str {
        self.words.front().copied().unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        self.words.pop_front().unwrap_or_else(|| self.fail("another word"))
    }

    fn parse<T: std::str::FromStr>(&mut self, wanted: &str) -> T {
        self.next().parse().unwrap_or_else(|_| self.fail(wanted))
    }

    fn number(&mut self) -> u64 {
        self.parse("a number")
    }

    fn skip(&mut self, word: &str) {
        if self.next() != word {
            self.fail(word);
        }
    }

    fn rest(&mut self) -> String {
        self.words.drain(..).collect::<Vec<_>>().join(" ")
    }

    fn nodes(&mut self) -> Vec<NodeId> {
        self.words.drain(..).map(|word| word.parse().expect("a node")).collect()
    }

    fn expectation(&mut self, expectations: &mut Expectations) {
        match self.next() {
            "nodes" => expectations.nodes = self.nodes(),
            "kinds" => {
                let kind = |word: &str| match word {
                    "read" => OpKind::Read,
                    "write" => OpKind::Write,
                    _ => OpKind::Cas,
                };
                expectations.operation_kinds = self.words.drain(..).map(kind).collect();
            }
            "ok" => expectations.ok_operations_min = self.number(),
            "fault" => {
                let name = self.next().to_owned();
                expectations.faults.push(ExpectedFault { name, times: self.number() });
            }
            "unavailable" => expectations.unavailable_max_ms = Some(self.number()),
            "bound" => {
                let measure = self.next().to_owned();
                let is_most = self.next() == "at-most";
                let limit = Some(u32::try_from(self.number()).expect("a bound of 32 bits"));
                let (at_most, at_least) = if is_most { (limit, None) } else { (None, limit) };
                expectations.bounds.push(Bound {
                    measure,
                    at_most,
                    at_least,
                    because: "the story says so".into(),
                });
            }
            "situation" => expectations.situations.push(self.next().to_owned()),
            "recovery" => expectations.recovery_limit_ms = self.number(),
            "complete" => expectations.complete = true,
            "consistency" => {
                expectations.consistency = match self.next() {
                    "sequential" => Consistency::Sequential,
                    "stale-within" => Consistency::StaleWithinMs(self.number()),
                    _ => self.fail("a consistency"),
                }
            }
            _ => self.fail("an expectation"),
        }
    }

    fn event(&mut self, time: u64) -> Event {
        match self.peek() {
            "phase" => {
                self.next();
                let phase = match self.next() {
                    "drive" => Phase::Drive,
                    "recovery" => Phase::Recovery,
                    "final-reads" => Phase::FinalReads,
                    "end" => Phase::End,
                    _ => self.fail("a phase"),
                };
                Event::Phase { time, phase }
            }
            "fault" => {
                self.next();
                let fault = self.next().to_owned();
                let phase = if self.next() == "inject" { FaultPhase::Inject } else { FaultPhase::Heal };
                let outcome = match self.next() {
                    "installed" => Outcome::Installed,
                    "skipped" => Outcome::Skipped,
                    "indeterminate" => Outcome::Indeterminate,
                    _ => self.fail("an outcome"),
                };
                let receipt = Receipt { outcome, evidence: Vec::new() };
                Event::Fault { time, fault, phase, nodes: self.nodes(), receipt }
            }
            "death" => {
                self.next();
                let node = self.parse("a node");
                let crash = self.next() == "crash";
                let last = if crash { "panicked: the log is empty" } else { "no space left on device" };
                let log = vec![last.to_owned()];
                Event::Death { time, node, status: self.rest(), crash, log }
            }
            _ => self.client_event(time),
        }
    }

    fn client_event(&mut self, time: u64) -> Event {
        let process = ProcessId(self.parse("a process"));
        let completion = match self.next() {
            "invoke" => {
                // A transaction takes all the words that are left, so the node goes first.
                let node = self.words.back().and_then(|word| word.parse().ok());
                self.words.truncate(self.words.len() - usize::from(node.is_some()));
                let op = self.op();
                return Event::Invoke { time, process, node, op };
            }
            "ok" => Completion::Ok(self.reply()),
            "fail" => Completion::Fail { reason: self.rest() },
            "info" => Completion::Info { reason: self.rest() },
            _ => self.fail("invoke, ok, fail or info"),
        };
        Event::Complete { time, process, completion }
    }

    fn op(&mut self) -> Op {
        let function = self.next();
        if function == "txn" {
            return Op::Txn { ops: self.micro_ops() };
        }
        let key = self.next().to_owned();
        match function {
            "delete" => Op::Delete { key },
            "append" => Op::Append { key, value: self.number() },
            "add" => Op::Add { key, value: self.number() },
            "enqueue" => Op::Enqueue { key, value: self.number() },
            "dequeue" => Op::Dequeue { key },
            "acquire" => Op::Acquire { key },
            "release" => Op::Release { key },
            "read" => Op::Read { key },
            "write" => Op::Write { key, value: self.number() },
            "cas" => Op::Cas { key, from: self.number(), to: self.number() },
            _ => self.fail("an operation"),
        }
    }

    fn held(&mut self) -> Option<u64> {
        if self.peek() == "nil" {
            self.next();
            return None;
        }
        Some(self.number())
    }

    fn reply(&mut self) -> Reply {
        let function = self.next();
        if function == "txn" {
            return Reply::Txn { ops: self.micro_ops() };
        }
        self.next();
        match function {
            "read" if self.peek().starts_with('[') => Reply::ReadList { values: self.list() },
            "read" => Reply::Read { value: self.held() },
            "write" => Reply::Write,
            "delete" => Reply::Delete,
            "append" => Reply::Append,
            "add" => Reply::Add,
            "enqueue" => Reply::Enqueue,
            "dequeue" => Reply::Dequeue { value: self.held() },
            "acquire" => Reply::Acquire,
            "release" => Reply::Release,
            _ => {
                self.number();
                self.number();
                if self.words.is_empty() {
                    return Reply::Swapped;
                }
                self.skip("saw");
                Reply::NotSwapped { seen: self.held() }
            }
        }
    }

    /// `[1 2 3]`, all that is left of the line.
    fn list(&mut self) -> Vec<u64> {
        let text = self.rest();
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.unwrap_or_else(|| self.fail("[NUMBER …]"));
        inner.split_whitespace().map(|word| word.parse().unwrap_or_else(|_| self.fail("a number"))).collect()
    }

    /// `append x 1, r y [1 2]`, separated by commas.
    fn micro_ops(&mut self) -> Vec<MicroOp> {
        let text = self.rest();
        let micro_op = |text: &str| {
            let mut words =
                Words { name: self.name, line: self.line, words: text.split_whitespace().collect() };
            let function = words.next();
            let key = words.next().to_owned();
            match function {
                "append" => MicroOp::Append { key, value: words.number() },
                "r" if words.words.is_empty() => MicroOp::Read { key, values: None },
                "r" => MicroOp::Read { key, values: Some(words.list()) },
                _ => self.fail("append or r"),
            }
        };
        text.split(',').map(micro_op).collect()
    }

    /// `3@1`: index and term.
    fn entry(&mut self) -> (LogIndex, Term) {
        let word = self.next();
        let parsed =
            word.split_once('@').and_then(|(index, term)| Some((index.parse().ok()?, term.parse().ok()?)));
        parsed.unwrap_or_else(|| self.fail("INDEX@TERM"))
    }

    fn digest(&mut self) -> Digest {
        Digest(u64::from_str_radix(self.next(), 16).unwrap_or_else(|_| self.fail("a hexadecimal digest")))
    }

    /// `name=value`.
    fn value_of(&mut self, name: &str) -> &'a str {
        let word = self.next();
        word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).unwrap_or_else(|| self.fail(name))
    }

    fn trace_event(&mut self) -> TraceEvent {
        match self.next() {
            "boot" => {
                let term = self.value_of("term").parse().expect("a term");
                let vote = self.value_of("vote").parse().ok();
                let snapshot_index = self.value_of("snapshot").parse().expect("an index");
                let last = self.value_of("last");
                self.words.push_front(last);
                let (last_index, last_term) = self.entry();
                let torn = if self.words.is_empty() { "0" } else { self.value_of("torn") };
                let torn_bytes = torn.parse().expect("a number of bytes");
                TraceEvent::Boot { term, vote, snapshot_index, last_index, last_term, torn_bytes }
            }
            "term" => TraceEvent::Term { term: self.number() },
            "role" => {
                let role = match self.next() {
                    "follower" => Role::Follower,
                    "pre_candidate" => Role::PreCandidate,
                    "candidate" => Role::Candidate,
                    "leader" => Role::Leader,
                    _ => self.fail("a role"),
                };
                TraceEvent::Role { role, term: self.number() }
            }
            "vote" => TraceEvent::Vote { term: self.number(), candidate: self.parse("a node") },
            "append" => {
                let mut entries = Vec::new();
                let mut first_index = 0;
                while self.peek() != "after" {
                    let (index, term) = self.entry();
                    first_index = if entries.is_empty() { index } else { first_index };
                    entries.push((term, self.digest()));
                }
                self.skip("after");
                let prev_term = self.number();
                self.skip("in");
                TraceEvent::Append { term: self.number(), prev_term, first_index, entries }
            }
            "truncate" => TraceEvent::Truncate { from_index: self.number() },
            "durable" => {
                let (index, entry_term) = self.entry();
                TraceEvent::Durable { index, entry_term }
            }
            "commit" => {
                let (index, entry_term) = self.entry();
                self.skip("in");
                TraceEvent::Commit { term: self.number(), index, entry_term }
            }
            "apply" => {
                let (index, entry_term) = self.entry();
                let digest = self.digest();
                self.skip("state");
                TraceEvent::Apply { index, entry_term, digest, state: self.digest() }
            }
            "snapshot" => {
                let (index, entry_term) = self.entry();
                let origin = match self.next() {
                    "taken" => SnapshotOrigin::Taken,
                    _ => SnapshotOrigin::Installed,
                };
                let data = if self.peek() == "data" {
                    self.skip("data");
                    self.digest()
                } else {
                    Digest(0)
                };
                TraceEvent::Snapshot { index, entry_term, origin, data }
            }
            "restore" => {
                let index = self.number();
                self.skip("state");
                TraceEvent::Restore { index, state: self.digest() }
            }
            "members" => {
                let index = self.number();
                let mut voters = Vec::new();
                while !self.peek().is_empty() {
                    voters.push(self.parse("a node"));
                }
                TraceEvent::Members { index, voters, learners: Vec::new() }
            }
            "answer" => {
                let answer = match self.next() {
                    "granted" => PreVoteAnswer::Granted,
                    "leader-alive" => PreVoteAnswer::LeaderAlive,
                    "log-behind" => PreVoteAnswer::LogBehind,
                    _ => self.fail("an answer to a PreVote"),
                };
                let candidate = self.parse("a node");
                TraceEvent::Aside(Aside::PreVoteAnswer { term: self.number(), candidate, answer })
            }
            "read" => {
                let (index, term) = self.entry();
                let lease_age_ms = (!self.words.is_empty()).then(|| {
                    self.skip("lease");
                    self.number()
                });
                TraceEvent::Aside(Aside::Read { term, index, lease_age_ms })
            }
            "members-committed" => TraceEvent::Aside(Aside::MembersCommitted { index: self.number() }),
            "transfer" => {
                let phase = match self.next() {
                    "asked" => TransferPhase::Asked,
                    "sent" => TransferPhase::Sent,
                    "done" => TransferPhase::Done,
                    "abandoned" => TransferPhase::Abandoned,
                    _ => self.fail("a phase of a transfer"),
                };
                let to = self.parse("a node");
                TraceEvent::Aside(Aside::Transfer { term: self.number(), to, phase })
            }
            "failpoint" => TraceEvent::Aside(Aside::Failpoint { name: self.rest() }),
            _ => self.fail("a trace event"),
        }
    }
}
