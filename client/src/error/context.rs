use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{BoxError, ErrorKind};

/// What is wrong with a context, or with the certificates, key and token that it names.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The environment names no context file.
    #[error("POSTHOUSE_CONTEXT is not set; set it to the path of a context file")]
    NoVariable,
    /// A file cannot be read.
    #[error("cannot read {}: {source}{}", path.display(), advice(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The context file is not the TOML that it should be.
    #[error("{} is not a context: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value is missing.
    #[error("the context has no `{0}`; add it")]
    Missing(&'static str),
    /// The endpoint is not an address.
    #[error("the context's endpoint {0:?} is not HOST:PORT; correct it")]
    Endpoint(String),
    /// The server name is neither a DNS name nor an IP address.
    #[error("the context's server_name {0:?} is neither a DNS name nor an IP address; correct it")]
    ServerName(String),
    /// A file of certificates, or a key, holds none, or what it holds cannot be used.
    #[error("{} cannot be used: {message}; replace it with a PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Certificates or a key that the program gave cannot be used.
    #[error("the {part} that the program gave cannot be used: {message}; give PEM")]
    Material {
        /// `authority`, `certificate` or `key`.
        part: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The token file holds no token.
    #[error("{} holds no token; write one line with the token alone", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The program's function for tokens, or for certificates and key, failed or took too long.
    #[error("the program's source of the {what} failed: {}; it is asked again", posthouse_text::causes(&**source))]
    Source {
        /// `token` or `certificates`.
        what: &'static str,
        /// Its own error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ContextError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Configuration,
        }
    }

    /// Whether trying again may help although nobody changes anything.
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

/// What to do about a file that cannot be read; what is wrong with its bytes says so itself.
fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::InvalidData { "" } else { "; check the path and its permissions" }
}
