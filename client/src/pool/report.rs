use std::sync::atomic::{AtomicU64, Ordering};

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Handled, and acked.
    pub acked: u64,
    /// Failed, and to be tried again; with those whose handler panicked or took too long.
    pub retried: u64,
    /// Given up by the handler.
    pub dead_lettered: u64,
    /// Given back by the handler, or not finished when the pool stopped.
    pub released: u64,
    /// Of the retried: the handler panicked.
    pub panicked: u64,
    /// Of the retried: the handler took too long.
    pub timed_out: u64,
    /// The settlement was not confirmed, most often for a lost lease: the message may be delivered again.
    pub unconfirmed: u64,
    /// The message was purged before it was settled: it does not come again.
    pub purged: u64,
}

/// The same, while it is being counted.
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
