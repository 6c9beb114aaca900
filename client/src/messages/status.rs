use std::time::{Duration, SystemTime};

use posthouse_proto::v1;

use crate::{
    consumer::{DeadLetterCause, DeadLetterOrigin},
    time,
};

/// One message as the queue's default subscription sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageStatus {
    /// Its id.
    pub message_id: String,
    /// The full resource name of its queue.
    pub queue: String,
    /// Its position there.
    pub sequence: u64,
    /// Where it stands.
    pub state: MessageState,
    /// How long it is, from the answer on, until its lease ends or it may be delivered again: what the times in its state say by the
    /// server's wall clock. `None` in other states, and from older servers.
    pub time_left: Option<Duration>,
    /// When it was published there; `None` when it is settled and already trimmed away, as its size is 0 then.
    pub publish_time: Option<SystemTime>,
    /// The size of its payload.
    pub payload_bytes: u32,
    /// Deliveries that failed (nacked, or the lease ran out).
    pub failed_attempts: u32,
    /// Of a dead letter that was moved here: why, and where it came from.
    pub origin: Option<DeadLetterOrigin>,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MessageState {
    /// It may be delivered now.
    Ready,
    /// A consumer has it.
    Leased {
        /// When the lease ends unless it is extended or settled, by the server's wall clock.
        deadline: SystemTime,
    },
    /// It waits for a retry.
    Waiting {
        /// When it may be delivered again, by the server's wall clock; `None`: it waits for its dead-letter queue to exist.
        until: Option<SystemTime>,
    },
    /// A dead letter with nowhere to go.
    Parked(DeadLetterCause),
    /// Acked, moved to a dead-letter queue, or purged.
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
