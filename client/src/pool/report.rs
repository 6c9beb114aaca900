use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of a pool, by deliveries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Handled, and settled as acked.
    pub acked: u64,
    /// Failed, and settled for a retry, also after a panic or a timeout of the handler.
    pub retried: u64,
    /// Settled as dead letters by the handler.
    pub dead_lettered: u64,
    /// Released by the handler, or because the pool stopped or the lease was lost.
    pub released: u64,
    /// Retries after a panic of the handler; part of `retried`.
    pub panicked: u64,
    /// Retries after a timeout of the handler; part of `retried`.
    pub timed_out: u64,
    /// Settlements that were not confirmed, in most cases for a lost lease. The messages may be delivered again.
    pub unconfirmed: u64,
    /// Messages that were purged before they were settled. They are not delivered again.
    pub purged: u64,
}

/// The counters behind a [`PoolReport`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) acked: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) unconfirmed: AtomicU64,
    pub(super) purged: AtomicU64,
}

impl Counts {
    pub(super) fn report(&self) -> PoolReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PoolReport {
            acked: read(&self.acked),
            retried: read(&self.retried),
            dead_lettered: read(&self.dead_lettered),
            released: read(&self.released),
            panicked: read(&self.panicked),
            timed_out: read(&self.timed_out),
            unconfirmed: read(&self.unconfirmed),
            purged: read(&self.purged),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
