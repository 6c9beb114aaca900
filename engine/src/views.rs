//! The answers to queries: counts of queues, what departments hold, and the status of single messages.

use crate::{
    outcome::Counts,
    schema::{DeadLetterCause, DeadLetterOrigin, DepartmentRow, SubscriptionSums},
};

/// The counts of a subscription and its queue, and the sums of what became of the messages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// The counts now.
    pub counts: Counts,
    /// When the oldest message that is not settled was published, by the wall clock, Unix milliseconds.
    pub oldest_unsettled_ms: Option<u64>,
    /// When that message was published by the time of batches, which its age is counted by.
    pub oldest_published_ms: Option<u64>,
    /// Bytes of all bodies kept; settled ones count until they are trimmed.
    pub stored_bytes: u64,
    /// Messages published, dead letters that moved here included.
    pub published: u64,
    /// When the first message was published, by the wall clock; absent if there was none.
    pub first_published_ms: Option<u64>,
    /// When the newest message was published, by the wall clock; absent if there was none.
    pub last_published_ms: Option<u64>,
    /// The sums of the subscription.
    pub sums: SubscriptionSums,
}

/// The bytes and queues of a department.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of all bodies of its queues.
    pub stored_bytes: u64,
    /// The number of its queues.
    pub queues: u32,
}

impl Usage {
    pub(crate) const fn of(row: &DepartmentRow) -> Self {
        Self { stored_bytes: row.stored_bytes, queues: row.queues }
    }
}

/// One message as a subscription sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageStatus {
    /// The sequence of the message.
    pub sequence: u64,
    /// Its state.
    pub state: MessageState,
    /// Deliveries that failed; 0 once it is settled.
    pub failed_attempts: u32,
    /// When it was published, by the wall clock, Unix milliseconds; absent if it is settled and trimmed.
    pub published_at_ms: Option<u64>,
    /// Its payload size; absent if it is settled and trimmed.
    pub payload_bytes: Option<u32>,
    /// Why it is in a dead-letter queue, and where it came from.
    pub origin: Option<DeadLetterOrigin>,
}

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// It may be delivered now.
    Ready,
    /// A consumer has it.
    Leased {
        /// The deadline of the lease, by the time of batches.
        deadline_ms: u64,
    },
    /// It waits for a retry.
    Waiting {
        /// When it may be delivered, by the time of batches; absent if it waits for its dead-letter queue to exist.
        due_ms: Option<u64>,
    },
    /// A dead letter that stays in its queue, which has no dead-letter queue.
    Parked(DeadLetterCause),
    /// Acked, moved, or purged.
    Settled,
}
