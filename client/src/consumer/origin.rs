use std::time::SystemTime;

use posthouse_proto::v1::{self, DeadLetterReason};

use crate::time;

/// The source of a dead letter, and why it became one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterOrigin {
    /// Why it became a dead letter.
    pub reason: DeadLetterCause,
    /// The full resource name of the queue that it was published to.
    pub queue: String,
    /// The subscription that made it a dead letter.
    pub subscription: String,
    /// Its id in that queue.
    pub message_id: String,
    /// Its position in that queue.
    pub sequence: u64,
    /// When it was published to that queue.
    pub publish_time: SystemTime,
    /// The number of failed deliveries from that queue.
    pub attempts: u32,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeadLetterCause {
    /// Its deliveries failed as often as the subscription allows.
    MaxAttempts,
    /// A consumer settled it as a dead letter.
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
