use std::time::{Duration, SystemTime};

use posthouse_proto::v1;

use crate::{
    consumer::{DeadLetterCause, DeadLetterOrigin},
    time,
};

/// The status of a message in the default subscription of its queue.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageStatus {
    /// The id of the message.
    pub message_id: String,
    /// The full resource name of the queue.
    pub queue: String,
    /// The position in the queue.
    pub sequence: u64,
    /// The state of the message.
    pub state: MessageState,
    /// Time from the answer until the lease ends or the retry is due; `None` in other states, and from older servers.
    /// The times in `state` are the same by the server's wall clock.
    pub time_left: Option<Duration>,
    /// When it was published to this queue; `None` if it is settled and trimmed.
    pub publish_time: Option<SystemTime>,
    /// The size of the payload; 0 if it is settled and trimmed.
    pub payload_bytes: u32,
    /// The number of deliveries that were nacked or whose lease ran out.
    pub failed_attempts: u32,
    /// The source of a dead letter that was moved to this queue.
    pub origin: Option<DeadLetterOrigin>,
}

/// The state of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MessageState {
    /// It is ready for delivery.
    Ready,
    /// It is leased to a consumer.
    Leased {
        /// When the lease ends unless it is extended or settled, by the server's wall clock.
        deadline: SystemTime,
    },
    /// It waits for a retry, or for its dead-letter queue.
    Waiting {
        /// When the retry is due, by the server's wall clock; `None` if it waits until its dead-letter queue exists.
        until: Option<SystemTime>,
    },
    /// It is a dead letter that stays here, because there is no dead-letter queue.
    Parked(DeadLetterCause),
    /// It was acked, moved to a dead-letter queue, or purged.
    Settled,
    /// A state that this version does not know.
    Unknown,
}

impl From<v1::MessageStatus> for MessageStatus {
    fn from(status: v1::MessageStatus) -> Self {
        let state = match status.state() {
            v1::MessageState::Unspecified => MessageState::Unknown,
            v1::MessageState::Ready => MessageState::Ready,
            v1::MessageState::Leased => {
                MessageState::Leased { deadline: time::or_epoch(status.lease_deadline) }
            }
            v1::MessageState::Waiting => {
                MessageState::Waiting { until: status.retry_time.map(time::system_time) }
            }
            v1::MessageState::Parked => MessageState::Parked(status.parked_reason().into()),
            v1::MessageState::Settled => MessageState::Settled,
        };
        Self {
            state,
            time_left: time::duration(status.lease_time_left.or(status.retry_time_left)),
            message_id: status.message_id,
            queue: status.queue,
            sequence: status.sequence,
            publish_time: status.publish_time.map(time::system_time),
            payload_bytes: status.payload_bytes,
            failed_attempts: status.failed_attempts,
            origin: status.dead_letter.map(DeadLetterOrigin::from),
        }
    }
}
