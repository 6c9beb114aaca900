//! Why a log is not opened, and why its replay ends early.

use std::path::{Path, PathBuf};

use super::{GroupId, LogError};

/// A log was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] LogError),
    /// The log was written by a newer Posthouse.
    #[error(
        "{} has log format {found}, but this Posthouse knows formats up to {known}; \
         start the version that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Bytes that were durable once are not what was written.
    #[error(
        "the log is damaged: {}, byte {at}: {what}; confirmed messages may be missing, so nothing was changed: \
         keep a copy of the data folder, check the disk, and restore the folder from a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The position in the file.
        at: u64,
        /// The problem.
        what: String,
    },
    /// A segment is not there.
    #[error(
        "the log is incomplete: {} is missing; put the file back, or restore the data folder from a backup",
        path.display()
    )]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The store has applied entries the log does not have.
    #[error(
        "the log of {group} ends at entry {last}, but the store has applied entry {applied}: log and store are not \
         of the same node or the same backup; restore both together"
    )]
    StoreAhead {
        /// The group.
        group: GroupId,
        /// The index that the store has applied.
        applied: u64,
        /// The last index of the log.
        last: u64,
    },
    /// The log has forgotten entries the store has not applied.
    #[error(
        "the log of {group} begins at entry {first}, but the store has applied only entry {applied}: log and store are \
         not of the same node or the same backup; restore both together"
    )]
    StoreBehind {
        /// The group.
        group: GroupId,
        /// The index that the store has applied.
        applied: u64,
        /// The first index of the log.
        first: u64,
    },
}

impl LogOpenError {
    pub(super) fn damaged(path: &Path, at: u64, what: &str) -> Self {
        Self::Damaged { path: path.into(), at, what: what.to_owned() }
    }
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// The log could not be read.
    #[error(transparent)]
    Read(LogError),
    /// The callback that the entries were passed to has failed.
    #[error(transparent)]
    Apply(E),
}
