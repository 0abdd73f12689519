//! Time as the nemesis lives it, and the wish that ends all its waits.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time as the nemesis lives it; tests give it another.
pub trait Pace {
    /// How long the nemesis has been at work.
    fn now(&self) -> Duration;
    /// Waits until `due`, or less if the run is stopped.
    fn wait_until(&self, due: Duration) -> Wake;
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time has come.
    Due,
    /// The run is stopped.
    Stopped,
}

/// The wish that the nemesis stops.
#[derive(Debug, Default)]
pub struct Stop {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Wakes the nemesis up and lets it heal everything and return.
    pub fn request(&self) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Real time, in which a [`Stop`] ends every wait.
pub(crate) struct RealTime<'a> {
    began: Instant,
    stop: &'a Stop,
}

impl<'a> RealTime<'a> {
    /// It begins now.
    pub(crate) fn new(stop: &'a Stop) -> Self {
        Self { began: Instant::now(), stop }
    }
}

impl Pace for RealTime<'_> {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait_until(&self, due: Duration) -> Wake {
        let mut wanted = self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *wanted {
                return Wake::Stopped;
            }
            let left = due.saturating_sub(self.now());
            if left.is_zero() {
                return Wake::Due;
            }
            let waited = self.stop.changed.wait_timeout(wanted, left);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
