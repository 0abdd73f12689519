//! How findings name events: by file and line, so that a reader finds them with any editor.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a reader finds an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRef {
    /// The file, relative to the run directory.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for EventRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
