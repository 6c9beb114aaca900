//! How the store is doing.

use posthouse_engine::kv::Family;
use rocksdb::{properties, statistics::Ticker};

use super::{errors::StoreError, rocks::Store};

/// How the store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHealth {
    /// Flushes and compactions that failed since the start. An operator should look into any number but 0.
    pub background_errors: u64,
    /// Whether writes wait for compaction.
    pub write_stopped: bool,
    /// Bytes compaction has yet to rewrite, about.
    pub pending_compaction_bytes: u64,
    /// Bytes of memory held by the block cache.
    pub cache_bytes: u64,
    /// Bytes of memory held by rows that wait for a flush.
    pub memtable_bytes: u64,
    /// Bytes of memory held by open files, outside the block cache.
    pub reader_bytes: u64,
    /// Bytes of live data, about.
    pub live_data_bytes: u64,
    /// Bytes of all table files.
    pub file_bytes: u64,
    /// Bytes that the store has written since it was opened.
    pub written: StoreWritten,
}

/// Bytes that the store has written since it was opened, counted by RocksDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreWritten {
    /// Bytes of the batches that were written to it.
    pub batch_bytes: u64,
    /// Bytes that flushes have written to tables.
    pub flushed_bytes: u64,
    /// Bytes that compactions have read from tables.
    pub compaction_read_bytes: u64,
    /// Bytes that compactions have written to tables.
    pub compaction_written_bytes: u64,
    /// Microseconds that writes were held back for flushes and compactions.
    pub stalled_us: u64,
}

impl Store {
    /// Bytes free for this process on the store's disk.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How the store is doing. Cheap enough to ask every second.
    ///
    /// # Errors
    /// When RocksDB does not say.
    pub fn health(&self) -> Result<StoreHealth, StoreError> {
        let failed = |source| StoreError::Failed { doing: "ask the store for its health", source };
        let mut health = StoreHealth {
            background_errors: self
                .db
                .property_int_value(properties::BACKGROUND_ERRORS)
                .map_err(failed)?
                .unwrap_or(0),
            write_stopped: false,
            pending_compaction_bytes: 0,
            cache_bytes: self.cache.get_usage() as u64,
            memtable_bytes: 0,
            reader_bytes: 0,
            live_data_bytes: 0,
            file_bytes: 0,
            written: self.written(),
        };
        for family in Family::ALL {
            let family = self.family(family)?;
            let ask = |name| {
                Ok::<_, StoreError>(self.db.property_int_value_cf(family, name).map_err(failed)?.unwrap_or(0))
            };
            health.write_stopped |= ask(properties::IS_WRITE_STOPPED)? != 0;
            health.pending_compaction_bytes += ask(properties::ESTIMATE_PENDING_COMPACTION_BYTES)?;
            health.memtable_bytes += ask(properties::SIZE_ALL_MEM_TABLES)?;
            health.reader_bytes += ask(properties::ESTIMATE_TABLE_READERS_MEM)?;
            health.live_data_bytes += ask(properties::ESTIMATE_LIVE_DATA_SIZE)?;
            health.file_bytes += ask(properties::TOTAL_SST_FILES_SIZE)?;
        }
        Ok(health)
    }

    fn written(&self) -> StoreWritten {
        let count = |ticker| self.database.get_ticker_count(ticker);
        StoreWritten {
            batch_bytes: count(Ticker::BytesWritten),
            flushed_bytes: count(Ticker::FlushWriteBytes),
            compaction_read_bytes: count(Ticker::CompactReadBytes),
            compaction_written_bytes: count(Ticker::CompactWriteBytes),
            stalled_us: count(Ticker::StallMicros),
        }
    }
}
