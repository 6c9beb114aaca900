//! The cost of this thread's reads, counted by RocksDB itself: a few increments for each read, no clock.

use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

/// Counts of a thread's reads since the last call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadCost {
    /// Deleted rows that iterators have passed over.
    pub(crate) tombstones: u64,
    /// Blocks found in the cache.
    pub(crate) cached: u64,
    /// Blocks read from the disk.
    pub(crate) read: u64,
}

/// Counts this thread's reads. RocksDB keeps the counts per thread, so it stays on the one it was made on.
pub(crate) struct ReadMeter {
    context: PerfContext,
}

impl ReadMeter {
    /// Begins to count.
    pub(crate) fn on_this_thread() -> Self {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut context = PerfContext::default();
        context.reset();
        Self { context }
    }

    /// The counts since the last call.
    pub(crate) fn read(&mut self) -> ReadCost {
        let cost = ReadCost {
            tombstones: self.context.metric(PerfMetric::InternalDeleteSkippedCount),
            cached: self.context.metric(PerfMetric::BlockCacheHitCount),
            read: self.context.metric(PerfMetric::BlockReadCount),
        };
        self.context.reset();
        cost
    }
}
