use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{BoxError, ErrorKind};

/// What is wrong with a context, or with its certificates, key or token.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The environment variable `POSTHOUSE_CONTEXT` is not set.
    #[error("POSTHOUSE_CONTEXT is not set; set it to the path of a context file")]
    NoVariable,
    /// A file cannot be read.
    #[error("cannot read {}: {source}{}", path.display(), advice(source))]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The context file is not valid TOML, or has unknown or wrong values.
    #[error("{} is not a context: {message}", path.display())]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// The error, and its line.
        message: String,
    },
    /// The context lacks this value.
    #[error("the context has no `{0}`; add it")]
    Missing(&'static str),
    /// The endpoint is not `HOST:PORT`.
    #[error("the context's endpoint {0:?} is not HOST:PORT; correct it")]
    Endpoint(String),
    /// The server name is neither a DNS name nor an IP address.
    #[error("the context's server_name {0:?} is neither a DNS name nor an IP address; correct it")]
    ServerName(String),
    /// A file of certificates or of a key has none, or one that cannot be used.
    #[error("{} cannot be used: {message}; replace it with a PEM file", path.display())]
    Pem {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Certificates or a key from the program cannot be used.
    #[error("the {part} that the program gave cannot be used: {message}; give PEM")]
    Material {
        /// `authority`, `certificate` or `key`.
        part: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The token file has no token.
    #[error("{} holds no token; write one line with the token alone", path.display())]
    Token {
        /// The path of the file.
        path: PathBuf,
    },
    /// The program's function for tokens or certificates failed, or took too long.
    #[error(
        "the program's source of the {what} failed: {}; it is asked again",
        posthouse_text::causes(&**source)
    )]
    Source {
        /// `token` or `certificates`.
        what: &'static str,
        /// The error that the function returned.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ContextError {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Configuration,
        }
    }

    /// Whether another attempt may succeed although nobody changes anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Source { .. })
    }

    pub(crate) fn unreadable(path: &Path, error: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source: Arc::new(error) }
    }

    pub(crate) fn source_failed(what: &'static str, error: BoxError) -> Self {
        Self::Source { what, source: Arc::from(error) }
    }
}

/// What to do about a file that cannot be read. An error in its content has its own advice.
fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::InvalidData { "" } else { "; check the path and its permissions" }
}
