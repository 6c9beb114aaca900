use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, ErrorReason, Refusal},
    message::{MessageError, NewMessage},
    retry::{FailureClass, classify},
};

/// Why a message was not published, or why nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message cannot be published as it is; it was not sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The server refused the message, its batch, or this publisher; the message is not stored.
    #[error("the server refused the message: {0}")]
    Refused(#[source] Refusal),
    /// The server refused the message when it was sent again after a broken connection. Nobody knows whether the first
    /// attempt had stored it.
    #[error("the message may be stored or not; sending it again was refused: {0}")]
    InDoubt(#[source] Refusal),
    /// The publisher cannot go on. The message may have been stored if it had been sent before.
    #[error("publishing stopped: {0}")]
    Stopped(#[source] Error),
    /// The publisher gave up after trying for that long. The message may have been stored.
    #[error("publishing stopped after {} s of trying: {cause}", waited.as_secs())]
    GaveUp {
        /// How long it tried.
        waited: Duration,
        /// The last failure.
        #[source]
        cause: Error,
    },
    /// The message's deadline passed before it was sent: it is not stored.
    #[error("the message's deadline passed before it could be sent; it is not stored")]
    Expired,
    /// The deadline passed without an answer. The message may be stored, or not.
    #[error("no answer by the deadline; the message may be stored or not")]
    TimedOut,
    /// The publisher was closed, or its runtime ended.
    #[error("the publisher is closed; open another")]
    Closed,
}

/// Why a message was not reserved at once.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryPublishError {
    /// There is no room in the buffer: the server is slower than the program. Here is the message again.
    #[error("the publisher's buffer is full; wait for answers, or let `publish` wait for room")]
    Full(NewMessage),
    /// It cannot be published.
    #[error(transparent)]
    Failed(#[from] PublishError),
}

impl PublishError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Message(_) => ErrorKind::InvalidArgument,
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.kind(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.kind(),
            Self::Expired | Self::TimedOut => ErrorKind::DeadlineExceeded,
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// The server's stable reason, for example `MESSAGE_TOO_LARGE`.
    pub fn reason(&self) -> Option<&str> {
        self.refusal()?.reason()
    }

    /// The server's stable reason, if this version knows it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        self.refusal()?.error_reason()
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after()
    }

    /// The server's refusal, if that is what it is, or was the last failure.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => Some(refusal),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.refusal(),
            _ => None,
        }
    }

    /// Whether publishing the message again, with a new publisher if this one ended, may succeed. After any error but
    /// [`PublishError::Refused`] and [`PublishError::Expired`] that may store it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.is_retryable(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.is_retryable(),
            Self::Expired | Self::TimedOut => true,
            Self::Message(_) | Self::Closed => false,
        }
    }

    /// The end of a publisher that tried for `waited`.
    pub(super) fn ended(cause: Error, waited: Duration) -> Self {
        match classify(&cause) {
            FailureClass::Permanent => Self::Stopped(cause),
            FailureClass::Transient | FailureClass::Credentials => Self::GaveUp { waited, cause },
        }
    }
}
