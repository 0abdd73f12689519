//! A program that waits, in one of the ways that programs do.
//!
//! It says `began`, waits for three seconds by its own clock, and says for how long it has by that clock.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nemesis::clock::{Child, NodeClock};

pub(crate) const ARGUMENT: &str = "wait";

/// How long, by the waiter's clock.
pub(crate) const LENGTH: Duration = Duration::from_secs(3);

/// The ways: a relative sleep, a futex with a deadline, two system calls with milliseconds; and one that does not wait.
pub(crate) const WAYS: [&str; 5] = ["sleep", "park", "condvar", "poll", "epoll"];

pub(crate) fn main() -> ExitCode {
    let way = std::env::args().nth(2).expect("a way to wait");
    say("began");
    let began = Instant::now();
    let left = || LENGTH.saturating_sub(began.elapsed());
    let timeout_ms = |left: Duration| i32::try_from(left.as_millis()).expect("seconds") + 1;
    match way.as_str() {
        "sleep" => thread::sleep(LENGTH),
        "park" => {
            let (_sender, receiver) = mpsc::channel::<()>();
            let _nobody = receiver.recv_timeout(LENGTH);
        }
        "condvar" => {
            let shared = Arc::new((Mutex::new(()), Condvar::new()));
            let guard = shared.0.lock().expect("nobody panics");
            let _timeout = shared.1.wait_timeout_while(guard, LENGTH, |()| true).expect("nobody panics");
        }
        // SAFETY: no descriptors are given.
        "poll" => while unsafe { libc::poll(std::ptr::null_mut(), 0, timeout_ms(left())) } < 0 {},
        "epoll" => {
            // SAFETY: the call takes an integer.
            let epoll = unsafe { libc::epoll_create1(0) };
            // As runtimes do: a signal may end the wait early, and then the clock is looked at.
            while !left().is_zero() {
                let mut events = [libc::epoll_event { events: 0, u64: 0 }];
                // SAFETY: there is room for one event.
                unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1, timeout_ms(left())) };
            }
        }
        "spin" => while !left().is_zero() {},
        // Reads until the other end closes.
        "read" => {
            let _end = std::io::stdin().read_to_end(&mut Vec::new());
        }
        other => panic!("{other} is no way to wait"),
    }
    say(&began.elapsed().as_nanos().to_string());
    ExitCode::SUCCESS
}

fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush()).expect("somebody listens");
}

/// A waiter at work.
pub(crate) struct Waiter {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
}

impl Waiter {
    /// Starts one under a node's clocks; it waits when this returns.
    pub(crate) fn start(clock: &NodeClock, way: &str) -> Self {
        Self::of(clock, command(way))
    }

    pub(crate) fn of(clock: &NodeClock, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = clock.spawn(command).expect("hooked");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut waiter = Self { child, output };
        assert_eq!(waiter.line(), "began");
        waiter
    }

    /// Waits until it has waited: how long it has by its own clock.
    pub(crate) fn end(&mut self) -> Duration {
        let text = self.line();
        Duration::from_nanos(text.parse().unwrap_or_else(|_| panic!("`{text}` is a number")))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }
}

pub(crate) fn command(way: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.args([ARGUMENT, way]);
    command
}
