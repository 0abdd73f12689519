//! What can go wrong with a data directory, in words that say which file and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Trouble with the data directory. None of it can be retried: after a failed sync nobody knows what is on the
/// disk, and a second sync may report success for pages that the kernel has already given up.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The kernel refused.
    #[error("{doing} {}: {}", .path.display(), describe(.source))]
    Io {
        /// What was asked of it.
        doing: &'static str,
        /// Of this file or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Another node runs in this directory.
    #[error(
        "lock {}: another node is running in this data directory; stop it or choose another directory",
        .path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Bytes that were once durable are not what was written.
    #[error(
        "read {} at offset {offset}: {what}; this is damage and not a torn tail, and dropping it could lose \
         acknowledged writes: restore the directory from a copy, or replace the node under a new id",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The files are whole, but one is missing.
    #[error(
        "recover {}: {what}; files are missing: restore the directory from a copy, or replace the node under a new id",
        .dir.display()
    )]
    Missing {
        /// The data directory.
        dir: PathBuf,
        /// What has no file.
        what: String,
    },
    /// The file was written by another version of this program.
    #[error(
        "read {}: format version {found}, this program reads version {known}; start the version that wrote it",
        .path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// The kernel's answer in words, with the name that manuals use for it.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc().to_lowercase()),
        None => error.to_string(),
    }
}

/// Names the file and the deed of an I/O result.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { doing, path: path.to_owned(), source })
    }
}
