//! The clocks of one node: the control page that its processes share, from one start to the next.
//!
//! Healing REALTIME gives the true time back, with a jump as any clock that is set makes. Healing MONOTONIC does not: no
//! kernel lets it go back, and programs rest on that. It goes on at its true speed from where it is, and only the next
//! process of the node starts without the offset.

use std::io;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::Pid;

use super::bend::{RATE_ONE, rate_of_percent};
use super::child::{Child, Nudger};
use super::launch::launch;
use super::page::Page;
use super::{Change, Clock, Level};
use crate::proc;

/// Bends the clocks of a node.
#[derive(Debug)]
pub struct NodeClock {
    level: Level,
    page: Arc<Page>,
    bent: Mutex<Bent>,
    nudger: Mutex<Option<Nudger>>,
}

/// What is done to the clocks.
#[derive(Debug, Default)]
struct Bent {
    realtime: Option<Force>,
    monotonic: Option<Force>,
}

/// A change in force.
#[derive(Debug)]
enum Force {
    Lasting,
    Strobe(#[expect(dead_code, reason = "dropping it ends it")] Strobe),
}

impl NodeClock {
    /// Clocks that can be bent that far, and are not yet.
    ///
    /// # Errors
    ///
    /// The memory that is shared with the node cannot be made.
    pub fn new(level: Level) -> io::Result<Self> {
        Ok(Self { level, page: Arc::new(Page::new()?), bent: Mutex::default(), nudger: Mutex::default() })
    }

    /// How far they can be bent.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Starts the node's program. If a clock is bent at the moment, the process begins with it bent.
    ///
    /// # Errors
    ///
    /// The program cannot be started, or not hooked.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let bent = self.bent();
        // A new process has read no clock, so that it sees none go back.
        if bent.monotonic.is_none() {
            self.page.clear(Clock::Monotonic);
        }
        let child = self.spawn_beside(command)?;
        *self.nudger() = child.nudger()?;
        Ok(child)
    }

    /// Starts another program under the same clocks as the node's.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_beside(&self, command: Command) -> io::Result<Child> {
        launch(command, self.level, &self.page)
    }

    /// Bends a clock. What was done to it before ends. Where the node's waits are traced, those under way follow.
    ///
    /// # Errors
    ///
    /// It cannot be bent with this level, or the system refuses.
    ///
    /// # Panics
    ///
    /// MONOTONIC is to go back.
    pub fn bend(&self, clock: Clock, change: Change) -> io::Result<()> {
        if self.level < Level::needed_by(clock) {
            let text = format!("the node was started for {} only, and {clock} needs more", self.level);
            return Err(io::Error::other(text));
        }
        let mut bent = self.bent();
        let force = bent.of(clock);
        *force = None;
        *force = Some(match change {
            Change::Step { offset_ns } => {
                assert!(clock == Clock::Realtime || offset_ns >= 0, "a monotonic clock never goes back");
                self.page.change(clock, offset_ns, RATE_ONE);
                Force::Lasting
            }
            Change::Rate { percent } => {
                self.page.change(clock, 0, rate_of_percent(percent));
                Force::Lasting
            }
            Change::Strobe { offset_ns, period } => {
                assert!(clock == Clock::Realtime, "a monotonic clock never goes back");
                Force::Strobe(Strobe::start(Arc::clone(&self.page), offset_ns, period)?)
            }
        });
        self.nudge()
    }

    /// Heals a clock.
    ///
    /// # Errors
    ///
    /// The clock is healed; but waits under way could not be made to follow.
    pub fn restore(&self, clock: Clock) -> io::Result<()> {
        let mut bent = self.bent();
        // A strobe must be over before the clock is put right.
        *bent.of(clock) = None;
        match clock {
            Clock::Realtime => self.page.clear(clock),
            Clock::Monotonic if self.page.bend(clock.id()).is_some() => self.page.keep_offset(clock),
            Clock::Monotonic => {}
        }
        self.nudge()
    }

    fn nudge(&self) -> io::Result<()> {
        self.nudger().as_ref().map_or(Ok(()), Nudger::nudge)
    }

    fn nudger(&self) -> MutexGuard<'_, Option<Nudger>> {
        self.nudger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a clock is bent, as far as we know: evidence comes from the [probe](super::probe).
    pub fn is_bent(&self, clock: Clock) -> bool {
        self.bent().of(clock).is_some()
    }

    /// Whether the kernel lists the control page among what this process has mapped. A program that was started by
    /// another, or under no hook, has not.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn is_mapped_by(&self, pid: Pid) -> io::Result<bool> {
        let inode = self.page.inode()?.to_string();
        let maps = proc::text(pid, "maps")?.unwrap_or_default();
        // Fields as in proc_pid_maps(5): the inode is the fifth, the path the sixth.
        Ok(maps.lines().any(|line| {
            let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
            fields.get(4) == Some(&inode.as_str())
                && fields.get(5).is_some_and(|path| path.starts_with("/memfd:clock"))
        }))
    }

    fn bent(&self) -> MutexGuard<'_, Bent> {
        self.bent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bent {
    fn of(&mut self, clock: Clock) -> &mut Option<Force> {
        match clock {
            Clock::Realtime => &mut self.realtime,
            Clock::Monotonic => &mut self.monotonic,
        }
    }
}

/// A thread that lets REALTIME jump there and back, until dropped.
#[derive(Debug)]
struct Strobe {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct End {
    is_wanted: Mutex<bool>,
    changed: Condvar,
}

impl Strobe {
    fn start(page: Arc<Page>, offset_ns: i64, period: Duration) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let thread = std::thread::Builder::new().name("clock strobe".into()).spawn({
            let end = Arc::clone(&end);
            move || {
                let mut is_there = false;
                loop {
                    if is_there {
                        page.clear(Clock::Realtime);
                    } else {
                        page.change(Clock::Realtime, offset_ns, RATE_ONE);
                    }
                    is_there = !is_there;
                    let is_wanted = end.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
                    let waited = end.changed.wait_timeout_while(is_wanted, period, |is_wanted| !*is_wanted);
                    if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Strobe {
    fn drop(&mut self) {
        *self.end.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic about.
            let _ = thread.join();
        }
    }
}
