//! A small program under the same clocks as a node, which says what it sees: what receipts are made of.
//!
//! It is the harness's own binary, started by [`ARGUMENT`]; it knows nothing of hooks and pages, and reads the time as any
//! program does. What it says is held against the machine's clock. The answer came at some moment between question and
//! arrival, so a reading is an interval, wide on a busy machine; what is concluded from intervals holds all the same.
//!
//! ```text
//! read       → REALTIME MONOTONIC     both in nanoseconds
//! wait NS    → done                   after half of it in a sleep, and half at a futex with a deadline
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Change, Child, Clock, Level, NodeClock};

/// The first argument that makes the harness's binary a probe.
pub const ARGUMENT: &str = "clock-probe";

/// Why nothing can be bent on other machines.
pub(super) const NOT_HERE: &str = "clocks can be bent on x86-64 only";

/// What a self-test lets REALTIME step by. No machine is that slow.
const STEP_NS: i64 = 3_600_000_000_000;
/// How a self-test speeds MONOTONIC up, and for how long it waits by that clock.
const RATE_PERCENT: i64 = 1_000;
const WAIT: Duration = Duration::from_millis(400);
/// A wait may be late on a busy machine, but hardly every time.
const ATTEMPTS: usize = 3;

/// What a test says that went well.
const WORKS: &str = "works";

/// The probe itself: answers until its input ends, or tries out what [`test`] asks for.
pub fn main() -> ExitCode {
    if let Some(word) = std::env::args().nth(2) {
        let tried = match word.as_str() {
            "reads" => try_out(Level::Reads),
            "waits" => try_out(Level::Waits),
            _ => Err(io::Error::other("there is no such test")),
        };
        println!("{}", tried.map_or_else(|error| error.to_string(), |()| WORKS.to_owned()));
        return ExitCode::SUCCESS;
    }
    match answer(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone, or asks what no probe understands. It sees the end of the answers.
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(questions: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    for question in questions.lines() {
        let question = question?;
        match question.split_once(' ') {
            None if question == "read" => {
                let (realtime, monotonic) = (Clock::Realtime.now_ns()?, Clock::Monotonic.now_ns()?);
                writeln!(answers, "{realtime} {monotonic}")?;
            }
            Some(("wait", ns)) => {
                let length = Duration::from_nanos(ns.parse().map_err(io::Error::other)?);
                thread::sleep(length / 2);
                let deadline = Instant::now() + length / 2;
                // Nobody unparks this thread, but parking may end early all the same.
                while let Some(left) =
                    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
                {
                    thread::park_timeout(left);
                }
                writeln!(answers, "done")?;
            }
            _ => return Err(io::Error::other(format!("`{question}` is no question"))),
        }
        answers.flush()?;
    }
    Ok(())
}

/// A probe at work.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a probe read, and the machine's own clock before and after.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    realtime: Seen,
    monotonic: Seen,
}

/// One clock of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the probe read.
    pub fake_ns: i64,
    /// The machine's clock before it was asked.
    pub after_ns: i64,
    /// The machine's clock once it had answered.
    pub before_ns: i64,
}

impl Reading {
    /// One of the clocks.
    pub fn of(&self, clock: Clock) -> Seen {
        match clock {
            Clock::Realtime => self.realtime,
            Clock::Monotonic => self.monotonic,
        }
    }
}

impl Probe {
    /// A probe under the clocks of a node.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(clock: &NodeClock) -> io::Result<Self> {
        Self::of(clock.spawn_beside(Self::command())?)
    }

    /// A probe under no hook: what a hook that does nothing looks like.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_plain() -> io::Result<Self> {
        Self::of(Child::plain(&mut Self::command())?)
    }

    /// How a probe is started: as this binary, also when it was replaced on disk by a build meanwhile.
    fn command() -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(ARGUMENT).arg(ARGUMENT);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        command
    }

    fn of(mut child: Child) -> io::Result<Self> {
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes")
        };
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    /// Lets it read its clocks.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn read(&mut self) -> io::Result<Reading> {
        let after = (Clock::Realtime.now_ns()?, Clock::Monotonic.now_ns()?);
        let answer = self.ask("read")?;
        let before = (Clock::Realtime.now_ns()?, Clock::Monotonic.now_ns()?);
        let (realtime, monotonic) = answer
            .split_once(' ')
            .and_then(|(realtime, monotonic)| Some((realtime.parse().ok()?, monotonic.parse().ok()?)))
            .ok_or_else(|| io::Error::other(format!("the clock probe answered `{answer}`")))?;
        Ok(Reading {
            realtime: Seen { fake_ns: realtime, after_ns: after.0, before_ns: before.0 },
            monotonic: Seen { fake_ns: monotonic, after_ns: after.1, before_ns: before.1 },
        })
    }

    /// Lets it wait for so long by its clocks; how long that took.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn wait(&mut self, length: Duration) -> io::Result<Duration> {
        let began = Instant::now();
        match self.ask(&format!("wait {}", length.as_nanos()))?.as_str() {
            "done" => Ok(began.elapsed()),
            other => Err(io::Error::other(format!("the clock probe answered `{other}`"))),
        }
    }

    /// Whether it is still waiting after so long. It is of no further use then.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn still_waits(mut self, length: Duration, after: Duration) -> io::Result<bool> {
        use std::os::fd::AsFd;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

        writeln!(self.questions, "wait {}", length.as_nanos())?;
        let timeout = PollTimeout::try_from(after).map_err(io::Error::other)?;
        let mut answers = [PollFd::new(self.answers.get_ref().as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut answers, timeout)? == 0)
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        writeln!(self.questions, "{question}")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other("the clock probe has ended"));
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It has no state that a kill could hurt, and may be in a wait that no clock will end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// How far the probe's clock is from the machine's: at least and at most.
    pub fn offset_ns(self) -> (i64, i64) {
        (self.fake_ns - self.before_ns, self.fake_ns - self.after_ns)
    }

    /// How fast the probe's clock has run from this reading to a later one, in per cent: at least and at most.
    pub fn rate_percent(self, later: Self) -> (f64, f64) {
        let fake = (later.fake_ns - self.fake_ns) as f64;
        // Each reading was somewhere in its interval.
        let longest = (later.before_ns - self.after_ns) as f64;
        let shortest = (later.after_ns - self.before_ns).max(1) as f64;
        (fake / longest * 100.0, fake / shortest * 100.0)
    }
}

/// Why a machine cannot bend clocks.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Reason {
    /// What was tried and what came of it.
    pub detail: String,
    /// What to do about it.
    pub help: &'static str,
}

/// How far this machine can bend the clocks of a process: a probe is started, its clocks are bent, and it is asked.
///
/// This happens in a process of its own, which leaves neither threads nor processes with the caller. The binary must be
/// one that becomes a probe when its first argument is [`ARGUMENT`].
///
/// # Errors
///
/// Not at all, and why. Why not further, [`test`] tells.
pub fn self_test() -> Result<Level, Reason> {
    test(Level::Reads)?;
    Ok(test(Level::Waits).map_or(Level::Reads, |()| Level::Waits))
}

/// Whether this machine can bend the clocks of a process that far.
///
/// # Errors
///
/// Why not.
pub fn test(level: Level) -> Result<(), Reason> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Reason { detail: NOT_HERE.to_owned(), help: "run on x86-64, or drop faults on clocks" });
    }
    let help = "clock faults need ptrace of own children and a seccomp filter; a container may forbid either, and \
                kernel.yama.ptrace_scope must be below 3";
    let refused = |what: &str| Reason { detail: format!("failed to bend {level}: {what}"), help };
    let mut command = Probe::command();
    command.arg(match level {
        Level::Reads => "reads",
        Level::Waits => "waits",
    });
    let output = command.stdin(Stdio::null()).output().map_err(|error| refused(&error.to_string()))?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        WORKS => Ok(()),
        "" => Err(refused(&format!("the test ended without a word: {}", output.status))),
        what => Err(refused(what)),
    }
}

fn try_out(level: Level) -> io::Result<()> {
    let clock = NodeClock::new(level)?;
    let mut probe = Probe::start(&clock)?;
    clock.bend(Clock::Realtime, Change::Step { offset_ns: STEP_NS })?;
    let seen = probe.read()?.of(Clock::Realtime).offset_ns();
    if !(seen.0..=seen.1).contains(&STEP_NS) {
        let text = format!(
            "a probe's clock is {} s ahead after a step of {} s",
            seen.0 / 1_000_000_000,
            STEP_NS / 1_000_000_000
        );
        return Err(io::Error::other(text));
    }
    if level == Level::Reads {
        return Ok(());
    }
    clock.bend(Clock::Monotonic, Change::Rate { percent: RATE_PERCENT })?;
    let mut took = Duration::MAX;
    for _ in 0..ATTEMPTS {
        took = took.min(probe.wait(WAIT)?);
        if took < WAIT {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("a wait of {WAIT:?} took {took:?} by a clock at ten times the speed")))
}
