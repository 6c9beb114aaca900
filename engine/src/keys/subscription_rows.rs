//! Keys of the rows of a subscription.

use super::{
    Key, Kind,
    parts::{Reader, Scope, keys},
};
use crate::{
    ids::{Lane, LeaseId, SubscriptionRef},
    kv::Family,
    schema::{AckChunkRow, LeaseRow, ProgressRow, RetryRow, SubscriptionRow},
};

keys! {
    /// A subscription: its watermarks, its counts and its next lease.
    #[derive(Copy)]
    SubscriptionKey: Subscription, State -> SubscriptionRow {
        /// The subscription.
        subscription: SubscriptionRef,
    }

    /// The bitmaps of 4,096 sequences: settled, waiting, failed.
    #[derive(Copy)]
    AckChunkKey: AckChunk, State -> AckChunkRow {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The lane.
        lane: Lane,
        /// The sequence divided by the chunk size.
        chunk: u64,
    }

    /// A lease as it was granted; the row never changes.
    #[derive(Copy)]
    LeaseKey: Lease, State -> LeaseRow {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The lease.
        lease: LeaseId,
    }

    /// What became of each message of a lease.
    #[derive(Copy)]
    ProgressKey: Progress, State -> ProgressRow {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The lease.
        lease: LeaseId,
    }

    /// A closed lease, in the order in which closed leases are forgotten. The key has no row.
    #[derive(Copy)]
    ClosedLeaseKey: ClosedLease, State -> () {
        /// The subscription.
        subscription: SubscriptionRef,
        /// When the lease closed, Unix milliseconds.
        closed_at_ms: u64,
        /// The lease.
        lease: LeaseId,
    }

    /// A message that came back from a delivery: its attempts, and when it is due again.
    #[derive(Copy)]
    RetryKey: Retry, State -> RetryRow {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The message's lane.
        lane: Lane,
        /// The message's sequence.
        sequence: u64,
    }

    /// The copy of a body for a subscription that still needs it when its publish is trimmed.
    #[derive(Copy)]
    RelocatedBodyKey: RelocatedBody, Body -> () {
        /// The subscription.
        subscription: SubscriptionRef,
        /// The message's lane.
        lane: Lane,
        /// The message's sequence.
        sequence: u64,
    }
}
