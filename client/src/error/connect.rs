use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use tonic::{Code, Status};

use super::{ContextError, ErrorKind};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The context, or a file it names, is missing or wrong.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Nothing answers at the endpoint.
    #[error("cannot reach {endpoint}: {source}; check that the server runs and the context's endpoint")]
    Unreachable {
        /// Where the client tried to go.
        endpoint: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The endpoint answers, but the two sides do not accept each other.
    #[error(
        "TLS with {endpoint} failed: {source}; check the context's server_name, authority and certificate"
    )]
    Handshake {
        /// Where the client tried to go.
        endpoint: String,
        /// What TLS said.
        source: Arc<io::Error>,
    },
    /// The endpoint speaks TLS, but not HTTP/2.
    #[error("{endpoint} does not speak gRPC; check the context's endpoint")]
    NotGrpc {
        /// Where the client tried to go.
        endpoint: String,
    },
    /// An answer did not come in time.
    #[error("no answer from the server within {} s; try again later", .0.as_secs())]
    TimedOut(Duration),
    /// A connection that stood is gone.
    #[error("the connection broke: {0}; try again")]
    Broken(Arc<str>),
}

impl ConnectError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Context(error) => error.kind(),
            _ => ErrorKind::Unreachable,
        }
    }

    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Context(error) => error.is_retryable(),
            // The server's mind may change: a certificate is renewed, an authority added.
            Self::Handshake { source, .. } => is_alert(source),
            Self::NotGrpc { .. } => false,
            Self::Unreachable { .. } | Self::TimedOut(_) | Self::Broken(_) => true,
        }
    }

    /// Only TLS itself tells that the two sides do not fit; a connection that ends meanwhile may be a server that does.
    pub(crate) fn handshake(endpoint: &str, error: io::Error) -> Self {
        let by_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        let (endpoint, source) = (endpoint.to_owned(), Arc::new(error));
        if by_tls { Self::Handshake { endpoint, source } } else { Self::Unreachable { endpoint, source } }
    }

    /// The failure of a connection that comes dressed as the failure of a call.
    pub(crate) fn of_status(status: &Status) -> Option<Self> {
        let cause = status.source();
        if let Some(cause) = cause
            && let Some(error) = Self::within(cause)
        {
            return Some(error);
        }
        // The server's own statuses have no source, and an Unknown one only if nobody set a status at all.
        let broken = cause.is_some() || (status.code() == Code::Unknown && status.details().is_empty());
        broken.then(|| Self::Broken(innermost(cause, status.message()).into()))
    }

    pub(crate) fn of_transport(error: &tonic::transport::Error, limit: Duration) -> Self {
        if let Some(error) = Self::within(error) {
            return error;
        }
        let innermost = innermost(Some(error), "");
        // The connector's own deadline is the only failure that does not come from our code.
        if innermost.contains("timed out") || innermost.contains("deadline") {
            return Self::TimedOut(limit);
        }
        Self::Broken(innermost.into())
    }

    /// Looks for one of ours among the causes of an error of the transport.
    fn within(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return Some(ours.clone());
            }
            next = error.source();
        }
        None
    }
}

/// Whether the other side has refused, and not this one.
fn is_alert(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(_)))
}

fn innermost(cause: Option<&(dyn StdError + 'static)>, otherwise: &str) -> String {
    let mut words = otherwise.to_owned();
    let mut next = cause;
    while let Some(error) = next {
        words = error.to_string();
        next = error.source();
    }
    words
}
