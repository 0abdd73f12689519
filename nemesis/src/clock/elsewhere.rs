//! What there is on machines other than x86-64: plain processes, and nothing that bends their clocks.

use std::convert::Infallible;
use std::io;
use std::process::Command;

use nix::unistd::Pid;

use super::{Change, Child, Clock, Level};

/// Clocks that cannot be bent, and so are never made.
#[derive(Debug)]
pub struct NodeClock(Infallible);

#[allow(missing_docs, reason = "as on x86-64, where they do something")]
impl NodeClock {
    pub fn new(_level: Level) -> io::Result<Self> {
        Err(io::Error::other(super::probe::NOT_HERE))
    }

    pub fn level(&self) -> Level {
        match self.0 {}
    }

    pub fn spawn(&self, _command: Command) -> io::Result<Child> {
        match self.0 {}
    }

    pub fn spawn_beside(&self, _command: Command) -> io::Result<Child> {
        match self.0 {}
    }

    pub fn bend(&self, _clock: Clock, _change: Change) -> io::Result<()> {
        match self.0 {}
    }

    pub fn restore(&self, _clock: Clock) -> io::Result<()> {
        match self.0 {}
    }

    pub fn is_bent(&self, _clock: Clock) -> bool {
        match self.0 {}
    }

    pub fn is_mapped_by(&self, _pid: Pid) -> io::Result<bool> {
        match self.0 {}
    }
}
