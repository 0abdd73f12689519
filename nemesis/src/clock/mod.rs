//! The clocks of single processes, bent from outside while they run.
//!
//! ```text
//! harness ──writes──▶ control page ◀──reads── hook in the node: what its clocks show
//!                          ▲──────────reads── tracer: when its waits end       (only with `Level::Waits`)
//!                          ▲──────────reads── hook in a probe: what the receipts are made of
//! ```
//! A program reads the time through the vDSO, so it is shown another one whose clocks pass through a control page. What it
//! waits for is measured by the kernel, which knows nothing of that; so where MONOTONIC is bent, waits are traced and
//! their timeouts rewritten. Nobody sets a clock of the machine, no privilege is needed, and no program cooperates.
//!
//! What stays true to real time: raw system calls for the time, the processor's own counter, timestamps of files, 32-bit
//! programs, timers armed before a change (timerfd) and those of `setitimer`, `timer_settime` and io_uring.

use std::fmt;
use std::io;

#[cfg(target_arch = "x86_64")]
mod bend;
mod child;
#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(target_arch = "x86_64")]
mod hook;
#[cfg(target_arch = "x86_64")]
mod inject;
#[cfg(target_arch = "x86_64")]
mod launch;
#[cfg(target_arch = "x86_64")]
mod node;
#[cfg(not(target_arch = "x86_64"))]
#[path = "elsewhere.rs"]
mod node;
#[cfg(target_arch = "x86_64")]
mod page;
pub mod probe;
#[cfg(target_arch = "x86_64")]
mod tracee;
#[cfg(target_arch = "x86_64")]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod vdso;
#[cfg(target_arch = "x86_64")]
mod waits;

pub use child::Child;
pub use node::NodeClock;
pub use probe::{Reason, self_test, test};

/// A clock of a process, with all that the kernel derives from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// The time of day.
    Realtime,
    /// The time since boot, which waits are measured by. It never goes back.
    Monotonic,
}

impl Clock {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Realtime, Self::Monotonic];

    /// The kernel's number of the clock itself.
    pub fn id(self) -> i32 {
        self.ids()[0]
    }

    /// The numbers of the clock and of its variants: coarse, alarm, raw, TAI, since boot.
    fn ids(self) -> &'static [i32] {
        match self {
            Self::Realtime => &[
                libc::CLOCK_REALTIME,
                libc::CLOCK_REALTIME_COARSE,
                libc::CLOCK_REALTIME_ALARM,
                libc::CLOCK_TAI,
            ],
            Self::Monotonic => &[
                libc::CLOCK_MONOTONIC,
                libc::CLOCK_MONOTONIC_RAW,
                libc::CLOCK_MONOTONIC_COARSE,
                libc::CLOCK_BOOTTIME,
                libc::CLOCK_BOOTTIME_ALARM,
            ],
        }
    }

    /// What the machine's clock shows, which no fault touches.
    ///
    /// # Errors
    ///
    /// The kernel has no such clock.
    pub fn now_ns(self) -> io::Result<i64> {
        now_ns(self.id())
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Realtime => "realtime",
            Self::Monotonic => "monotonic",
        })
    }
}

/// How far a process's time can be bent. What it was started with stays, so it is decided before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What its clocks show. Enough for REALTIME.
    Reads,
    /// Also when its waits end, which MONOTONIC needs: a program that reads one clock and waits by another is broken, not
    /// fast or slow.
    Waits,
}

impl Level {
    /// The least that bending this clock takes.
    pub fn needed_by(clock: Clock) -> Self {
        match clock {
            Clock::Realtime => Self::Reads,
            Clock::Monotonic => Self::Waits,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reads => "clock reads",
            Self::Waits => "clock reads and waits",
        })
    }
}

/// What is done to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It jumps by so much and goes on as before.
    Step {
        /// By how much.
        offset_ns: i64,
    },
    /// It goes on at so many per cent of its speed. At zero it stands still.
    Rate {
        /// How many.
        percent: i64,
    },
    /// It jumps there and back, again and again.
    Strobe {
        /// By how much.
        offset_ns: i64,
        /// How long it stays on either side.
        period: std::time::Duration,
    },
}

/// A clock of the machine, which no fault touches: the harness never runs under a hook.
fn now_ns(id: i32) -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the struct that it is given.
    match unsafe { libc::clock_gettime(id, &raw mut time) } {
        0 => Ok(time.tv_sec * 1_000_000_000 + time.tv_nsec),
        _ => Err(io::Error::last_os_error()),
    }
}
