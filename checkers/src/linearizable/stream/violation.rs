//! What a stream objects to, and how it is told to a reader.

use std::fmt;

use crate::finding::seconds;
use crate::history::{ProcessId, Time};
use crate::model::{Held, show};

/// A violation, at the event that made it certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The object.
    pub key: String,
    /// When the event was stamped.
    pub time: Time,
    /// Whose operation it was that cannot be explained.
    pub process: ProcessId,
    /// The pattern, and the value it is about.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A value was seen that nobody is known to have written: never written, written by an operation that
    /// failed, or overwritten so long ago that it was forgotten.
    Unwritten(Held),
    /// Two swaps succeeded on one value.
    LostUpdate(Held),
    /// An operation saw, or left, a value that had been overwritten before it began.
    Stale(Held),
    /// An operation failed, and its value had been seen.
    Aborted(Held),
    /// A swap found the value that it expected and yet did nothing.
    Refused(Held),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { key, time, process: ProcessId(process), problem } = self;
        let at = seconds(*time);
        match *problem {
            Problem::Unwritten(held) => write!(
                f,
                "p{process} was told at {at} that {key} held {}, which was overwritten long before or never written",
                show(held)
            ),
            Problem::LostUpdate(held) => {
                write!(f, "p{process} swapped {key} from {} by {at}, and so had another before", show(held))
            }
            Problem::Stale(held) => write!(
                f,
                "p{process}'s operation on {key}, which ended at {at}, fits only where {} stood, and that was overwritten before it began",
                show(held)
            ),
            Problem::Refused(held) => {
                write!(
                    f,
                    "p{process}'s swap of {key} was refused at {at} on {}, which it expected",
                    show(held)
                )
            }
            Problem::Aborted(held) => write!(
                f,
                "p{process} was told at {at} that it had not written {} to {key}, which somebody had read",
                show(held)
            ),
        }
    }
}
