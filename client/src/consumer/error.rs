use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, ErrorReason, Refusal},
    retry::{FailureClass, classify},
};

/// The reason for which a consumer ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The consumer met a failure that retries do not cure.
    #[error("consuming stopped: {0}")]
    Stopped(#[source] Error),
    /// The consumer gave up after the time limit for retries.
    #[error("consuming stopped after {} s of trying: {cause}", waited.as_secs())]
    GaveUp {
        /// How long the consumer tried.
        waited: Duration,
        /// The failure of the last attempt.
        #[source]
        cause: Error,
    },
}

/// The reason for which a settlement or an extension is not confirmed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The server refused it, in most cases because the lease has ended.
    #[error("the delivery was not settled: {0}")]
    Refused(#[source] Refusal),
    /// The consumer was closed, or its runtime ended, before the server confirmed. The message is delivered again
    /// unless the settlement reached the server.
    #[error("the consumer was closed before the server confirmed; settle deliveries before closing it")]
    Closed,
    /// The consumer ended with an error before the server confirmed. The message is delivered again unless the
    /// settlement reached the server.
    #[error("the delivery's settlement is not confirmed: {0}")]
    Unconfirmed(#[source] ConsumeError),
}

impl ConsumeError {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.cause().kind()
    }

    /// The server's stable reason, for example `QUEUE_DELETED`; `None` if the server did not send one.
    pub fn reason(&self) -> Option<&str> {
        self.cause().reason()
    }

    /// The server's stable reason as a value; `None` without one, or if this version does not know it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        self.cause().error_reason()
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.cause().retry_after()
    }

    /// Whether a new consumer may succeed although nobody changes anything.
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

    /// The error of a consumer that ended with `cause` after it had tried for `waited`.
    pub(super) fn ended(cause: Error, waited: Duration) -> Self {
        match classify(&cause) {
            FailureClass::Permanent => Self::Stopped(cause),
            FailureClass::Transient | FailureClass::Credentials => Self::GaveUp { waited, cause },
        }
    }
}

impl SettleError {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Closed => ErrorKind::Closed,
            Self::Unconfirmed(error) => error.kind(),
        }
    }

    /// The server's stable reason, for example `LEASE_LOST`; `None` if the server did not send one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Closed => None,
            Self::Unconfirmed(error) => error.reason(),
        }
    }

    /// The server's stable reason as a value; `None` without one, or if this version does not know it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(refusal) => refusal.error_reason(),
            Self::Closed => None,
            Self::Unconfirmed(error) => error.error_reason(),
        }
    }

    /// Always `false`, because the delivery is consumed. The server delivers an unsettled message again.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
