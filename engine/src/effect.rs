//! Effects: what the leader does after a batch is synced and applied. An effect may be lost; what must not be lost is
//! a write.

use crate::ids::{DepartmentId, QueueRef, SubscriptionRef};

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A queue has new messages, up to this sequence.
    Appended {
        /// The queue.
        queue: QueueRef,
        /// The sequence of its newest message.
        last_sequence: u64,
    },
    /// Messages may be delivered again: they were nacked without delay, released, or due for a retry, or their leases
    /// expired.
    Returned {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The messages, ascending.
        sequences: Vec<u64>,
    },
    /// Messages of a subscription were settled, parked, or began to wait: it may be idle now.
    Settled(SubscriptionRef),
    /// The queue was purged.
    Purged(QueueRef),
    /// The queue was deleted: its streams end.
    Deleted(QueueRef),
    /// The queue's definition has changed.
    Redefined(QueueRef),
    /// The department was closed: its streams end.
    DepartmentClosed(DepartmentId),
}
