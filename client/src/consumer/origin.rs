use std::time::SystemTime;

use posthouse_proto::v1::{self, DeadLetterReason};

use crate::time;

/// Where a message in a dead-letter queue came from, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterOrigin {
    /// Why it was given up.
    pub reason: DeadLetterCause,
    /// The full resource name of the queue it was published to.
    pub queue: String,
    /// The subscription that gave it up.
    pub subscription: String,
    /// Its id there.
    pub message_id: String,
    /// Its position there.
    pub sequence: u64,
    /// When it was published there.
    pub publish_time: SystemTime,
    /// Deliveries that failed there.
    pub attempts: u32,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeadLetterCause {
    /// It failed as often as its subscription allows.
    MaxAttempts,
    /// A consumer settled it so.
    Consumer,
    /// A reason that this version does not know.
    Unknown,
}

impl From<DeadLetterReason> for DeadLetterCause {
    fn from(reason: DeadLetterReason) -> Self {
        match reason {
            DeadLetterReason::MaxAttempts => Self::MaxAttempts,
            DeadLetterReason::Consumer => Self::Consumer,
            DeadLetterReason::Unspecified => Self::Unknown,
        }
    }
}

impl From<v1::DeadLetter> for DeadLetterOrigin {
    fn from(origin: v1::DeadLetter) -> Self {
        Self {
            reason: origin.reason().into(),
            queue: origin.source_queue,
            subscription: origin.source_subscription,
            message_id: origin.source_message_id,
            sequence: origin.source_sequence,
            publish_time: time::or_epoch(origin.source_publish_time),
            attempts: origin.attempts,
        }
    }
}
