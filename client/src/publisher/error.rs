use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, ErrorReason, Refusal},
    message::{MessageError, NewMessage},
    retry::{FailureClass, classify},
};

/// The reason for which a message was not published, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message is not valid; it was not sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The server refused the message, its batch or the publisher. The message is not stored.
    #[error("the server refused the message: {0}")]
    Refused(#[source] Refusal),
    /// The server refused the message when it was sent again after a broken connection. The first attempt may have
    /// stored it.
    #[error("the message may be stored or not; sending it again was refused: {0}")]
    InDoubt(#[source] Refusal),
    /// The publisher met a failure that retries do not cure. A message that was sent before may be stored.
    #[error("publishing stopped: {0}")]
    Stopped(#[source] Error),
    /// The publisher gave up after the time limit for retries. A message that was sent before may be stored.
    #[error("publishing stopped after {} s of trying: {cause}", waited.as_secs())]
    GaveUp {
        /// How long the publisher tried.
        waited: Duration,
        /// The failure of the last attempt.
        #[source]
        cause: Error,
    },
    /// The deadline of the message passed before it was sent. It is not stored.
    #[error("the message's deadline passed before it could be sent; it is not stored")]
    Expired,
    /// The deadline passed before the answer. The message may be stored.
    #[error("no answer by the deadline; the message may be stored or not")]
    TimedOut,
    /// The publisher was closed, or its runtime ended.
    #[error("the publisher is closed; open another")]
    Closed,
}

/// The reason for which [`Publisher::try_publish`](super::Publisher::try_publish) did not accept a message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryPublishError {
    /// The buffer is full, because the server is slower than the program. Contains the message.
    #[error("the publisher's buffer is full; wait for answers, or let `publish` wait for room")]
    Full(NewMessage),
    /// The message cannot be published.
    #[error(transparent)]
    Failed(#[from] PublishError),
}

impl PublishError {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Message(_) => ErrorKind::InvalidArgument,
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.kind(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.kind(),
            Self::Expired | Self::TimedOut => ErrorKind::DeadlineExceeded,
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// The server's stable reason, for example `MESSAGE_TOO_LARGE`; `None` if the server did not send one.
    pub fn reason(&self) -> Option<&str> {
        self.refusal()?.reason()
    }

    /// The server's stable reason as a value; `None` without one, or if this version does not know it.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        self.refusal()?.error_reason()
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after()
    }

    /// The refusal of the server, if it is the failure, or the last one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => Some(refusal),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.refusal(),
            _ => None,
        }
    }

    /// Whether publishing the message again may succeed, with a new publisher if this one has ended. The message may
    /// then be stored twice, except after [`PublishError::Refused`] and [`PublishError::Expired`].
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.is_retryable(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.is_retryable(),
            Self::Expired | Self::TimedOut => true,
            Self::Message(_) | Self::Closed => false,
        }
    }

    /// The error of a publisher that ended with `cause` after it had tried for `waited`.
    pub(super) fn ended(cause: Error, waited: Duration) -> Self {
        match classify(&cause) {
            FailureClass::Permanent => Self::Stopped(cause),
            FailureClass::Transient | FailureClass::Credentials => Self::GaveUp { waited, cause },
        }
    }
}
