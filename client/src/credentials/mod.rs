//! The credentials of a client: certificate, key and token, and their sources.

mod access_token;
mod source;
mod tls;
mod token;

use std::{future::Future, io, path::Path, pin::Pin, sync::Arc};

pub use access_token::AccessToken;
pub(crate) use source::TokenSource;
pub use tls::TlsMaterial;
pub(crate) use tls::TlsSource;
pub(crate) use token::Token;

use crate::error::{BoxError, ContextError};

/// Largest size of a context file and of the files that it names, which are read whole.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// A function of the program that returns a secret.
pub(crate) type Callback<T> =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>> + Send + Sync>;

/// Reads a file on a thread that may block, because the file may be a pipe.
async fn read(path: &Path) -> Result<Vec<u8>, ContextError> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || posthouse_text::read(&file, MAX_FILE_BYTES)).await;
    read.unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| ContextError::unreadable(path, error))
}
