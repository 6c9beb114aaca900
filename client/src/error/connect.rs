use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use tonic::{Code, Status};

use super::{ContextError, ErrorKind};

/// The reason for which there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The context or a file that it names is missing or wrong.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// No server answers at the endpoint.
    #[error("cannot reach {endpoint}: {source}; check that the server runs and the context's endpoint")]
    Unreachable {
        /// The address that the client tried.
        endpoint: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The endpoint answers, but one side does not accept the other.
    #[error(
        "TLS with {endpoint} failed: {source}; check the context's server_name, authority and certificate"
    )]
    Handshake {
        /// The address that the client tried.
        endpoint: String,
        /// The error of TLS.
        source: Arc<io::Error>,
    },
    /// The endpoint speaks TLS, but not HTTP/2.
    #[error("{endpoint} does not speak gRPC; check the context's endpoint")]
    NotGrpc {
        /// The address that the client tried.
        endpoint: String,
    },
    /// The server did not answer within this time.
    #[error("no answer from the server within {} s; try again later", .0.as_secs())]
    TimedOut(Duration),
    /// An established connection broke.
    #[error("the connection broke: {0}; try again")]
    Broken(Arc<str>),
}

impl ConnectError {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Context(error) => error.kind(),
            _ => ErrorKind::Unreachable,
        }
    }

    /// Whether another attempt may succeed although nobody changes the program or its files.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Context(error) => error.is_retryable(),
            // An alert of the server may pass: its operator renews a certificate, or adds an authority.
            Self::Handshake { source, .. } => is_alert(source),
            Self::NotGrpc { .. } => false,
            Self::Unreachable { .. } | Self::TimedOut(_) | Self::Broken(_) => true,
        }
    }

    /// Only an error of TLS itself says that the two sides do not accept each other. A connection that ends meanwhile
    /// may be a server that restarts.
    pub(crate) fn handshake(endpoint: &str, error: io::Error) -> Self {
        let by_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        let (endpoint, source) = (endpoint.to_owned(), Arc::new(error));
        if by_tls { Self::Handshake { endpoint, source } } else { Self::Unreachable { endpoint, source } }
    }

    /// Finds the failure of a connection in the status of a call; `None` if the server sent the status.
    pub(crate) fn of_status(status: &Status) -> Option<Self> {
        let cause = status.source();
        if let Some(cause) = cause
            && let Some(error) = Self::within(cause)
        {
            return Some(error);
        }
        // A status that the server sent has no source. `Unknown` without details is a status that nobody set.
        let broken = cause.is_some() || (status.code() == Code::Unknown && status.details().is_empty());
        broken.then(|| Self::Broken(innermost(cause, status.message()).into()))
    }

    pub(crate) fn of_transport(error: &tonic::transport::Error, limit: Duration) -> Self {
        if let Some(error) = Self::within(error) {
            return error;
        }
        let innermost = innermost(Some(error), "");
        // Of the connector's failures, only its deadline is not an error of this crate.
        if innermost.contains("timed out") || innermost.contains("deadline") {
            return Self::TimedOut(limit);
        }
        Self::Broken(innermost.into())
    }

    /// Finds an error of this crate among the causes of an error of the transport.
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

/// Whether the peer sent the error as a TLS alert.
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
