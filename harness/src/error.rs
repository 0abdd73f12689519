//! Trouble that ends a command: what went wrong, what to do about it, and with which exit status.
//!
//! Trouble is neither a pass nor a bug found. What a cluster did wrong is an anomaly and never comes here.

use std::fmt;

/// Whose trouble it is; decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or a file given on it cannot be used: exit 254.
    Usage,
    /// The harness or the machine could not do its work: exit 255.
    Harness,
}

/// An error with a way out.
#[derive(Debug)]
pub struct Error {
    /// Whose trouble.
    pub kind: Kind,
    /// What went wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What a command returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Bad usage.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, message: message.to_string(), help: None }
    }

    /// Trouble of the harness.
    pub fn harness(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Harness, message: message.to_string(), help: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// An input or output error on a path, with the way out for the usual causes.
    pub fn io(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let error = Self::harness(format!("failed to {action} {}: {source}", path.display()));
        match source.kind() {
            std::io::ErrorKind::StorageFull => {
                error.help("the disk is full: free some space, or put results elsewhere with --results DIR")
            }
            std::io::ErrorKind::PermissionDenied => {
                error.help("check who owns it, or put results elsewhere with --results DIR")
            }
            _ => error,
        }
    }

    /// The status that the command exits with.
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::Usage => 254,
            Kind::Harness => 255,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(help) = &self.help {
            for line in help.lines() {
                write!(f, "\n  help: {line}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
