//! How RocksDB is set up for queues.

use std::sync::Arc;

use posthouse_engine::kv::Family;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options,
    statistics::StatsLevel,
};

use super::{drop_trimmed::DropTrimmed, trims::Trims};

/// A file of bodies is compacted again each time it has lain this long, so that what was settled meanwhile leaves the
/// disk.
const LONGEST_LEFTOVERS_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The rate to which writes are first slowed down when compaction is behind, and the highest rate of flushes and
/// compactions.
const SLOWED_BYTES_PER_SECOND: i64 = 1 << 30;
/// In one such time as much is written without waiting as that makes: mostly more than a flush.
const SLOWED_PERIOD_US: i64 = 100_000;
/// Once in this many times, compaction may be served before flushes.
const SLOWED_FAIRNESS: i32 = 10;
/// Memtables of a family: one is filled, two may wait for the flush.
const MEMTABLES: i32 = 3;

/// Settings of the store that may differ between machines.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Blocks, indexes and filters of all families in memory.
    pub block_cache_bytes: usize,
    /// Rows that wait for a flush; while one runs, up to three times as much may be held.
    pub write_buffer_bytes: usize,
    /// The most files that are held open.
    pub open_files: i32,
    /// Flushes and compactions at a time.
    pub background_jobs: i32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 96 << 20,
            write_buffer_bytes: 88 << 20,
            open_files: 512,
            background_jobs: 3,
        }
    }
}

/// What differs between the families.
struct Shape {
    /// Share of the write buffers, in 16ths.
    buffers: usize,
    block_bytes: usize,
    /// Keys are looked up that may not exist. Rows of other families are scanned, or read by keys that are known to
    /// exist.
    bloom: bool,
    /// Rows are large, written once, and deleted in long runs.
    bodies: bool,
}

const fn shape(family: Family) -> Shape {
    match family {
        Family::Body => Shape { buffers: 8, block_bytes: 128 << 10, bloom: false, bodies: true },
        Family::Entry => Shape { buffers: 2, block_bytes: 16 << 10, bloom: false, bodies: false },
        Family::State => Shape { buffers: 4, block_bytes: 8 << 10, bloom: true, bodies: false },
        Family::Timer => Shape { buffers: 1, block_bytes: 8 << 10, bloom: false, bodies: false },
        Family::Meta => Shape { buffers: 1, block_bytes: 4 << 10, bloom: false, bodies: false },
    }
}

/// Options of the database as a whole.
pub(super) fn database(options: &StoreOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // Without it, a crash could leave one family newer than another and the applied index beside either.
    db.set_atomic_flush(true);
    db.set_paranoid_checks(true);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    db.set_max_open_files(options.open_files);
    db.set_max_background_jobs(options.background_jobs);
    db.set_bytes_per_sync(1 << 20);
    // A batch is written by one thread at a time, and keys arrive in order: the memtable then finds the position of a
    // row beside that of the row before.
    db.set_allow_concurrent_memtable_write(false);
    db.set_use_direct_io_for_flush_and_compaction(true);
    db.set_use_direct_reads(true);
    db.set_avoid_unnecessary_blocking_io(true);
    // Without a limit, RocksDB slows writes down to 16 MiB a second at first.
    db.set_ratelimiter(SLOWED_BYTES_PER_SECOND, SLOWED_PERIOD_US, SLOWED_FAIRNESS);
    // Counters and sizes; no clock is read for them.
    db.enable_statistics();
    db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    // RocksDB's own log file: problems only, and never much of it.
    db.set_log_level(LogLevel::Warn);
    db.set_max_log_file_size(8 << 20);
    db.set_keep_log_file_num(4);
    db
}

/// Every family, with one cache for all.
pub(super) fn families(
    options: &StoreOptions,
    cache: &Cache,
    trims: &Arc<Trims>,
) -> Vec<ColumnFamilyDescriptor> {
    let queues = Family::ALL.map(|family| {
        let mut own = family_options(family, options, cache);
        if shape(family).bodies {
            own.set_compaction_filter_factory(DropTrimmed(Arc::clone(trims)));
            own.set_periodic_compaction_seconds(LONGEST_LEFTOVERS_SECONDS);
        }
        ColumnFamilyDescriptor::new(family.name(), own)
    });
    let mut rows = Options::default();
    rows.set_write_buffer_size(1 << 20);
    // A flush is of all families at once: the one with the fewest memtables would stop the writes of all.
    rows.set_max_write_buffer_number(MEMTABLES);
    let mut all = vec![ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, rows)];
    all.extend(queues);
    all
}

fn family_options(family: Family, options: &StoreOptions, cache: &Cache) -> Options {
    let shape = shape(family);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(shape.block_bytes);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if shape.bloom {
        table.set_bloom_filter(10.0, false);
    }

    let mut own = Options::default();
    own.set_block_based_table_factory(&table);
    own.set_write_buffer_size((options.write_buffer_bytes * shape.buffers / 16).max(1 << 20));
    // What is settled before a flush leaves no row behind.
    own.set_max_write_buffer_number(MEMTABLES);
    own.set_level_compaction_dynamic_level_bytes(true);
    // Deletes gather at a queue's head, where every reader begins: a file with many of them is compacted soon.
    own.add_compact_on_deletion_collector_factory(1_000, 100, 0.5);
    if shape.bodies {
        own.set_target_file_size_base(64 << 20);
        own.set_max_bytes_for_level_base(512 << 20);
        // A body that is consumed soon should not be rewritten first.
        own.set_level_zero_file_num_compaction_trigger(8);
    } else {
        own.set_target_file_size_base(16 << 20);
        own.set_max_bytes_for_level_base(128 << 20);
        own.set_level_zero_file_num_compaction_trigger(4);
    }
    own.set_level_zero_slowdown_writes_trigger(24);
    own.set_level_zero_stop_writes_trigger(40);
    let (young, old) = match shape.bodies {
        // A file of bodies can then move down as it is instead of being written again.
        true => (DBCompressionType::None, DBCompressionType::None),
        false => (DBCompressionType::None, DBCompressionType::Lz4),
    };
    own.set_compression_per_level(&[young, young, old, old, old, old, old]);
    own
}
