//! How queues, departments and single messages stand: what the leader may ask of a machine.

use crate::{
    outcome::Counts,
    schema::{DeadLetterCause, DeadLetterOrigin, DepartmentRow, SubscriptionSums},
};

/// How a subscription stands, and what has become of its queue's messages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// At this moment.
    pub counts: Counts,
    /// When the oldest message that is not settled was published, as it is told, Unix milliseconds.
    pub oldest_unsettled_ms: Option<u64>,
    /// The same by the time of batches: its age is counted from there.
    pub oldest_published_ms: Option<u64>,
    /// Bytes of all bodies kept; settled ones count until they are trimmed.
    pub stored_bytes: u64,
    /// Messages published, dead letters that moved here included.
    pub published: u64,
    /// When the first was published, as it is told; absent when there was none.
    pub first_published_ms: Option<u64>,
    /// When the last was published.
    pub last_published_ms: Option<u64>,
    /// Sums of the subscription.
    pub sums: SubscriptionSums,
}

/// What a department holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of all bodies of its queues.
    pub stored_bytes: u64,
    /// How many queues.
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
    /// Which.
    pub sequence: u64,
    /// Where it stands.
    pub state: MessageState,
    /// Deliveries that failed; 0 once it is settled.
    pub failed_attempts: u32,
    /// As it is told, Unix milliseconds; absent, like the size, when it is settled and trimmed.
    pub published_at_ms: Option<u64>,
    /// Payload size.
    pub payload_bytes: Option<u32>,
    /// Why it stands in a dead-letter queue, and where it came from.
    pub origin: Option<DeadLetterOrigin>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// It may be delivered now.
    Ready,
    /// A consumer has it.
    Leased {
        /// Until then, by the time of batches.
        deadline_ms: u64,
    },
    /// It waits for a retry.
    Waiting {
        /// Until then, by the time of batches; absent: for its dead-letter queue to exist.
        due_ms: Option<u64>,
    },
    /// A dead letter with nowhere to go.
    Parked(DeadLetterCause),
    /// Acked, moved, or purged.
    Settled,
}
