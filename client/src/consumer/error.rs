use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, ErrorReason, Refusal},
    retry::{FailureClass, classify},
};

/// Why a consumer ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// It cannot go on.
    #[error("consuming stopped: {0}")]
    Stopped(#[source] Error),
    /// It gave up after trying for that long.
    #[error("consuming stopped after {} s of trying: {cause}", waited.as_secs())]
    GaveUp {
        /// How long it tried.
        waited: Duration,
        /// The last failure.
        #[source]
        cause: Error,
    },
}

/// Why a settlement, or an extension, is not confirmed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The server refused it: most often because the lease has ended.
    #[error("the delivery was not settled: {0}")]
    Refused(#[source] Refusal),
    /// The consumer was closed, or its runtime ended, before the server confirmed. The message is delivered again
    /// unless the settlement had arrived.
    #[error("the consumer was closed before the server confirmed; settle deliveries before closing it")]
    Closed,
    /// The consumer ended before the server confirmed. The message is delivered again unless the settlement had
    /// arrived.
    #[error("the delivery's settlement is not confirmed: {0}")]
    Unconfirmed(#[source] ConsumeError),
}

impl ConsumeError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.cause().kind()
    }

    /// The server's stable reason, for example `QUEUE_DELETED`.
    pub fn reason(&self) -> Option<&str> {
        self.cause().reason()
    }

    /// The server's stable reason, if this version knows it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        self.cause().error_reason()
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.cause().retry_after()
    }

    /// Whether a new consumer may succeed, without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        self.cause().is_retryable()
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::GaveUp { waited: limit, cause: Error::timed_out(limit) }
    }

    fn cause(&self) -> &Error {
        match self {
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause,
        }
    }

    /// The end of a consumer that tried for `waited`.
    pub(super) fn ended(cause: Error, waited: Duration) -> Self {
        match classify(&cause) {
            FailureClass::Permanent => Self::Stopped(cause),
            FailureClass::Transient | FailureClass::Credentials => Self::GaveUp { waited, cause },
        }
    }
}

impl SettleError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Closed => ErrorKind::Closed,
            Self::Unconfirmed(error) => error.kind(),
        }
    }

    /// The server's stable reason, for example `LEASE_LOST`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Closed => None,
            Self::Unconfirmed(error) => error.reason(),
        }
    }

    /// The server's stable reason, if this version knows it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(refusal) => refusal.error_reason(),
            Self::Closed => None,
            Self::Unconfirmed(error) => error.error_reason(),
        }
    }

    /// Always `false`: the guard is used up. What was not settled is delivered again.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
