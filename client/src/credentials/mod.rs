//! What a client shows of itself: certificate, key and token, and where they come from.

mod access_token;
mod source;
mod tls;
mod token;

use std::{future::Future, pin::Pin, sync::Arc};

pub use access_token::AccessToken;
pub(crate) use source::TokenSource;
pub use tls::TlsMaterial;
pub(crate) use tls::TlsSource;
pub(crate) use token::Token;

/// Any error of the program.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A function of the program that gives a secret.
pub(crate) type Ask<T> =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>> + Send + Sync>;
