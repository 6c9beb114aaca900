//! Why no department was set aside or opened again.

use posthouse_text::causes;

use crate::{
    log::LogOpenError,
    store::{DataDirError, StoreError, StoreOpenError},
};

/// Why no department was set aside or opened again. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SetAsideError {
    /// The folder cannot be used, or a server runs on it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogOpenError),
    /// The store cannot be opened.
    #[error(transparent)]
    StoreOpen(#[from] StoreOpenError),
    /// The request does not fit the folder, or must not be carried out.
    #[error("{what}; nothing was changed")]
    Refused {
        /// What is wrong, and where.
        what: String,
        /// What to do.
        next: String,
    },
    /// The shard's rows cannot be read, or are damaged.
    #[error("{0}; nothing was changed")]
    Rows(String),
    /// The change could not be written.
    #[error(
        "the change could not be written to the store: {}; the same command says whether it was made",
        causes(.0)
    )]
    Write(StoreError),
}

impl SetAsideError {
    pub(super) fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), next: next.into() }
    }
}
