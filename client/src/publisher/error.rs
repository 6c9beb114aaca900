use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Refusal},
    message::MessageError,
    retry::{Class, class},
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
    Refused(Refusal),
    /// The server refused the message when it was sent again after a broken connection. Nobody knows whether the first
    /// attempt had stored it.
    #[error("the message may be stored or not; sending it again was refused: {0}")]
    InDoubt(Refusal),
    /// The publisher cannot go on. The message may have been stored if it had been sent before.
    #[error("publishing stopped: {0}")]
    Stopped(Error),
    /// The publisher gave up after trying for that long. The message may have been stored.
    #[error("publishing stopped after {} s of trying: {cause}", waited.as_secs())]
    GaveUp {
        /// How long it tried.
        waited: Duration,
        /// The last failure.
        cause: Error,
    },
    /// The publisher was closed, or its runtime ended.
    #[error("the publisher is closed; open another")]
    Closed,
}

impl PublishError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Message(_) => ErrorKind::InvalidArgument,
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.kind(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.kind(),
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// The server's stable reason, for example `MESSAGE_TOO_LARGE`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.reason(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.reason(),
            Self::Message(_) | Self::Closed => None,
        }
    }

    /// Whether publishing the message again, with a new publisher if this one ended, may succeed. After any error but
    /// [`PublishError::Refused`] that may store it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) | Self::InDoubt(refusal) => refusal.is_retryable(),
            Self::Stopped(cause) | Self::GaveUp { cause, .. } => cause.is_retryable(),
            Self::Message(_) | Self::Closed => false,
        }
    }

    /// The end of a publisher that tried for `waited`.
    pub(super) fn ended(cause: Error, waited: Duration) -> Self {
        match class(&cause) {
            Class::Permanent => Self::Stopped(cause),
            Class::Transient | Class::Credentials => Self::GaveUp { waited, cause },
        }
    }
}
