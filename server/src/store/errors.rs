//! Errors of the store, and the meaning of RocksDB's errors.

use std::path::{Path, PathBuf};

use super::packs::NotWhole;

/// A store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The folder could not be made or read.
    #[error("could not make or read the store's folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the store in {} is open in another process; stop that process first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It has column families this Posthouse does not know.
    #[error(
        "the store in {} has rows of kind {family:?} that this Posthouse does not know; \
         start the version that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The unknown family.
        family: String,
    },
    /// There is none.
    #[error(
        "there is no store in {}, although the log has begun; put its files back, or restore the data folder from a \
         backup",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Its files are not what was written.
    #[error(
        "the store in {} is damaged: {what}; nothing was repaired: keep a copy of the data folder, check the disk, \
         and restore the folder from a backup",
        path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// RocksDB's text.
        what: String,
    },
    /// RocksDB failed for another reason, such as a full disk or missing rights.
    #[error(
        "could not open the store in {}: {source}; nothing was changed: make room on the disk, or give this user the \
         right to write there",
        path.display()
    )]
    Failed {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: rocksdb::Error,
    },
}

/// The store could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// RocksDB failed.
    #[error("could not {doing}: {source}")]
    Failed {
        /// The operation that failed.
        doing: &'static str,
        /// Why it failed.
        source: rocksdb::Error,
    },
    /// A body was to be written to a trimmed part of its line; it would have been lost.
    #[error(
        "a message body was to be stored where the bodies of its queue have been trimmed; nothing was stored"
    )]
    BelowTrim,
    /// Bodies were to be deleted in a way that could delete others with them.
    #[error("message bodies were to be deleted that {0}; nothing was deleted")]
    Unsupported(&'static str),
    /// A row of bodies is not what was written.
    #[error(
        "a row of message bodies is not whole; keep a copy of the data folder, check the disk, and restore the \
         folder from a backup"
    )]
    NotWhole,
    /// A column family is not there, though opening makes all.
    #[error("the store has no rows of kind {0}")]
    NoFamily(&'static str),
}

impl From<NotWhole> for StoreError {
    fn from(_: NotWhole) -> Self {
        Self::NotWhole
    }
}

impl StoreError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if source.as_ref().contains("No space left on device"))
    }
}

/// Whether there is a store. RocksDB treats a folder without its `CURRENT` file as an empty one, and removes the rows
/// in it.
pub(super) fn is_made(path: &Path) -> Result<bool, StoreOpenError> {
    std::fs::create_dir_all(path).map_err(|source| StoreOpenError::Folder { path: path.into(), source })?;
    has_rows(path)
}

/// Whether a folder that must be there has rows.
pub(super) fn has_rows(path: &Path) -> Result<bool, StoreOpenError> {
    let unread = |source| StoreOpenError::Folder { path: path.into(), source };
    let mut has_rows = false;
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        if name == "CURRENT" {
            return Ok(true);
        }
        has_rows |= Path::new(&name).extension().is_some_and(|extension| extension == "sst");
    }
    if has_rows {
        return Err(StoreOpenError::Damaged {
            path: path.into(),
            what: "its CURRENT file is missing".into(),
        });
    }
    Ok(false)
}

/// The meaning of an error of opening.
pub(super) fn judge(path: &Path, source: rocksdb::Error) -> StoreOpenError {
    let path = path.to_path_buf();
    let said = source.as_ref();
    // Not when the lock's file cannot be opened, on a disk that is only read for example.
    let is_held = said.contains("While lock file") || said.contains("lock hold by current process");
    if is_held && source.kind() == rocksdb::ErrorKind::IOError {
        return StoreOpenError::InUse { path };
    }
    let missing_file = source.kind() == rocksdb::ErrorKind::IOError && said.contains("No such file");
    if missing_file || matches!(source.kind(), rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::NotFound)
    {
        return StoreOpenError::Damaged { path, what: source.into_string() };
    }
    StoreOpenError::Failed { path, source }
}
