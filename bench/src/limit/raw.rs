//! The limit `rocksdb`: synced writes of one thread in large batches, with settings for writing only.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use posthouse::bench::latency;
use rocksdb::{DB, DBCompressionType, Error, Options, WriteBatch, WriteOptions};

use super::{Limit, LimitLoad, load, usage::Usage};
use crate::{load::payload::Payloads, row::Row};

const BATCHES: [usize; 2] = [128, 1_024];
const WARM_UP: Duration = Duration::from_secs(1);
/// Payloads are made before the measurement and reused, since making them is not measured.
const PAYLOADS: usize = 8_192;

/// Keys of 16 bytes in the order of the messages.
#[derive(Debug, Default)]
pub struct Keys(u64);

impl Keys {
    /// The next key.
    pub fn next(&mut self) -> [u8; 16] {
        let key = u128::from(self.0).to_be_bytes();
        self.0 += 1;
        key
    }

    /// The number of keys that were made.
    pub fn count(&self) -> u64 {
        self.0
    }
}

/// Opens a database with settings for writing only.
pub fn open(folder: &Path) -> Result<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    // Many large buffers, so that no write waits for a flush and no flush for a compaction.
    options.set_write_buffer_size(128 << 20);
    options.set_max_write_buffer_number(6);
    options.set_max_background_jobs(4);
    options.set_level_zero_file_num_compaction_trigger(16);
    options.set_level_zero_slowdown_writes_trigger(64);
    options.set_level_zero_stop_writes_trigger(128);
    options.set_target_file_size_base(128 << 20);
    options.set_max_bytes_for_level_base(2 << 30);
    options.set_compression_type(DBCompressionType::None);
    // A flush syncs as it writes: what stays in the page cache delays the next sync of the log.
    options.set_bytes_per_sync(1 << 20);
    // There is one writer.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    DB::open(&options, folder).with_context(|| format!("cannot open a database in {}", folder.display()))
}

/// An empty batch with capacity for these messages and payload bytes, so that it is never copied to grow.
pub fn batch(messages: usize, bytes: usize) -> WriteBatch {
    const MAX_OVERHEAD_BYTES: usize = 32;
    WriteBatch::with_capacity_bytes(bytes + (messages + 1) * MAX_OVERHEAD_BYTES)
}

/// Writes the batch atomically and syncs it.
pub fn write_synced(db: &DB, batch: WriteBatch) -> Result<(), Error> {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced)
}

/// Measures each batch size on a database of its own below this folder.
pub fn measure(folder: &Path, load: LimitLoad) -> Result<Vec<Row>> {
    let mut payloads = Payloads::new(load.payload_bytes, Instant::now());
    let payloads: Vec<_> = (0..PAYLOADS).map(|it| payloads.next(Instant::now(), it as u64)).collect();
    let mut rows = Vec::new();
    for batch in BATCHES {
        let data = folder.join(format!("batches-of-{batch}"));
        rows.push(measure_batches(&data, load, batch, &payloads)?);
        fs::remove_dir_all(&data)?;
    }
    Ok(rows)
}

fn measure_batches(folder: &Path, load: LimitLoad, size: usize, payloads: &[Bytes]) -> Result<Row> {
    let db = open(folder)?;
    let mut keys = Keys::default();
    let mut payloads = payloads.iter().cycle();
    let mut write = || {
        let mut batch = batch(size, size * load.payload_bytes);
        for payload in payloads.by_ref().take(size) {
            batch.put(keys.next(), payload);
        }
        write_synced(&db, batch)
    };
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        write()?;
    }
    let (mut latencies, mut messages) = (latency::histogram()?, 0);
    let (before, start) = (Usage::own()?, Instant::now());
    let until = start + Duration::from_secs_f64(load.seconds);
    while Instant::now() < until {
        let began = Instant::now();
        write()?;
        latencies.saturating_record(load::micros(began.elapsed()));
        messages += size as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    let used = Usage::own()?.since(before);
    let mut row = load.row(Limit::Rocksdb);
    (row.batch, row.window, row.connections) = (size as u64, size as u64, 0);
    load::fill(&mut row, messages, seconds, &latencies);
    (row.server_cpu_seconds, row.disk_bytes) = (used.cpu_seconds, used.written_bytes);
    "one thread of the benchmark's own process; latency of a synced write".clone_into(&mut row.remark);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_making() {
        let mut keys = Keys::default();
        let made: Vec<_> = (0..300).map(|_| keys.next()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert_eq!(keys.count(), 300);
    }

    #[test]
    fn both_sizes_of_batch_are_measured() {
        let folder = tempfile::tempdir().unwrap();
        let load = LimitLoad { connections: 1, batch: 4, window: 8, payload_bytes: 64, seconds: 0.2 };
        let rows = measure(folder.path(), load).unwrap();
        assert_eq!(rows.iter().map(|row| row.batch).collect::<Vec<_>>(), [128, 1_024]);
        for row in rows {
            assert!(row.rate > 0.0 && row.p50_us <= row.p99_us, "{row:?}");
        }
    }
}
