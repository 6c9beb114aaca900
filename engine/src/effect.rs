//! What only the leader performs, after a batch is synced and applied. An effect may be lost; what may not is a write.

use crate::ids::{DepartmentId, QueueRef, SubscriptionRef};

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A queue has new messages, up to this sequence.
    Appended {
        /// The queue.
        queue: QueueRef,
        /// Its last sequence.
        last_sequence: u64,
    },
    /// Messages may be delivered again: nacked without delay, released, expired, or due for a retry.
    Returned {
        /// To whom.
        subscription: SubscriptionRef,
        /// Ascending.
        sequences: Vec<u64>,
    },
    /// Messages of a subscription were settled, parked, or began to wait: it may be idle now.
    Settled(SubscriptionRef),
    /// The queue's messages are gone.
    Purged(QueueRef),
    /// The queue is gone: its streams end.
    Deleted(QueueRef),
    /// The queue's definition has changed.
    Redefined(QueueRef),
    /// The department's streams end.
    DepartmentClosed(DepartmentId),
}
