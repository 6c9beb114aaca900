//! Errors. Each operation has its own error type; each type has an [`ErrorKind`], the server's reason if there is one,
//! and says whether another attempt may succeed.

mod advice;
mod connect;
mod context;
mod kind;
mod refusal;

pub use connect::ConnectError;
pub use context::ContextError;
pub use kind::ErrorKind;
pub use posthouse_proto::v1::ErrorReason;
pub use refusal::{Refusal, Violation};

use std::{sync::Arc, time::Duration};

use crate::name::NameError;

/// Any error of the program, from a handler or a source of credentials.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason for which a call, or the opening of a publisher or consumer, failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a queue or department is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no connection to the server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server sent what this version of the protocol does not allow.
    #[error("the server broke the protocol: {0}; use a server and a client of matching versions")]
    Protocol(&'static str),
}

impl Error {
    pub(crate) fn broken(what: impl Into<Arc<str>>) -> Self {
        Self::Connect(ConnectError::Broken(what.into()))
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::Connect(ConnectError::TimedOut(limit))
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) => ErrorKind::InvalidArgument,
            Self::Connect(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Protocol(_) => ErrorKind::Internal,
        }
    }

    /// The server's stable reason, for example `GRANT_MISSING`; `None` if the server did not send one.
    pub fn reason(&self) -> Option<&str> {
        self.refusal()?.reason()
    }

    /// The server's stable reason as a value; `None` without one, or if this version does not know it. Later versions
    /// may add reasons: match with a `_` arm.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        self.refusal()?.error_reason()
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after()
    }

    /// The server's refusal; `None` for other failures.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same call may succeed later although nobody changes anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Name(_) | Self::Protocol(_) => false,
        }
    }
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        Self::Connect(ConnectError::Context(error))
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        match ConnectError::of_status(&status) {
            Some(error) => Self::Connect(error),
            None => Self::Refused(Refusal::from(&status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{Error, ErrorKind};

    fn refused(code: Code, reason: &str) -> Error {
        let metadata = HashMap::from([("expected_sequence".to_owned(), "7".to_owned())]);
        let details = ErrorDetails::with_error_info(reason, "posthouse.v1", metadata);
        Status::with_error_details(code, "no", details).into()
    }

    #[test]
    fn reasons_are_decoded_and_advised() {
        let error = refused(Code::Unauthenticated, "TOKEN_EXPIRED");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.reason(), Some("TOKEN_EXPIRED"));
        assert!(error.is_retryable());
        assert!(error.to_string().contains("token file"), "{error}");
        let Error::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!(refusal.metadata("expected_sequence"), Some("7"));
    }

    #[test]
    fn an_unknown_reason_is_kept() {
        let error = refused(Code::PermissionDenied, "SOMETHING_NEW");
        assert_eq!(error.reason(), Some("SOMETHING_NEW"));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(!error.is_retryable());
    }
}
