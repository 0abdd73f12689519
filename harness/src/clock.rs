//! The one clock of a run, which no fault touches.
//!
//! `CLOCK_MONOTONIC`, read by the raw system call: a hook in the vDSO, which is how clocks of nodes are bent,
//! cannot reach it. Nodes stamp their traces with the same clock, so histories and traces share a timeline.

use checkers::history::Time;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec that outlives the call, and the call writes nothing else.
    let status = unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(status, 0, "CLOCK_MONOTONIC exists on every Linux");
    u64::try_from(now.tv_sec).expect("monotonic time is not negative") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("nanoseconds are not negative")
}

/// A clock that counts from the origin of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// A clock whose zero is now.
    pub fn start() -> Self {
        Self { origin_ns: monotonic_ns() }
    }

    /// Its zero, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn origin_ns(self) -> u64 {
        self.origin_ns
    }

    /// Nanoseconds since the origin.
    pub fn now(self) -> Time {
        monotonic_ns() - self.origin_ns
    }
}
