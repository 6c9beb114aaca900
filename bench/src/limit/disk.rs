//! The disk alone: the latency of a sync, and the bytes that it stores in a second.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use posthouse::bench::latency;

use super::{Limit, load};
use crate::{load::payload::Payloads, row::Row};

const SYNCS: u64 = 200;
const PAGE_BYTES: usize = 4 << 10;
const STRIDE_BYTES: usize = 1 << 20;
/// 2 GiB: a larger file gives no other result.
const MAX_STRIDES: u64 = 2_048;

/// Writes 4 KiB at a time into an existing file and syncs each: the latency is that of one write and its sync.
pub fn fsync(folder: &Path) -> Result<Row> {
    let file = create(folder)?;
    // Written once before, so that the measured syncs allocate no blocks.
    let whole = usize::try_from(SYNCS)? * PAGE_BYTES;
    file.write_all_at(&vec![0; whole], 0)?;
    file.sync_all()?;
    write_synced(&file, Limit::Fsync, PAGE_BYTES, SYNCS, Duration::MAX)
}

/// Appends 1 MiB at a time and syncs each. The rate in bytes is `disk_bytes` divided by `seconds`.
pub fn sequential(folder: &Path, seconds: f64) -> Result<Row> {
    let file = create(folder)?;
    let mut row =
        write_synced(&file, Limit::Disk, STRIDE_BYTES, MAX_STRIDES, Duration::from_secs_f64(seconds))?;
    row.remark = format!("{:.1} MB/s", row.disk_bytes as f64 / row.seconds / 1e6);
    Ok(row)
}

fn create(folder: &Path) -> Result<File> {
    let path = folder.join("file");
    File::create(&path).with_context(|| format!("cannot make {}", path.display()))
}

fn write_synced(file: &File, limit: Limit, bytes: usize, max_writes: u64, time: Duration) -> Result<Row> {
    let mut payloads = Payloads::new(bytes, Instant::now());
    let mut latencies: Histogram<u64> = latency::histogram()?;
    let (start, mut done) = (Instant::now(), 0);
    while done < max_writes && start.elapsed() < time {
        let payload = payloads.next(Instant::now(), done);
        let began = Instant::now();
        file.write_all_at(&payload, done * bytes as u64)?;
        file.sync_data()?;
        latencies.saturating_record(load::micros(began.elapsed()));
        done += 1;
    }
    let mut row = Row {
        part: "limit".to_owned(),
        system: limit.name().to_owned(),
        scenario: "publish".to_owned(),
        round: 1,
        payload_bytes: bytes as u64,
        batch: 1,
        disk_bytes: done * bytes as u64,
        ..Row::default()
    };
    load::fill(&mut row, done, start.elapsed().as_secs_f64(), &latencies);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let row = fsync(folder.path()).unwrap();
        assert_eq!((row.messages, row.disk_bytes), (SYNCS, SYNCS * 4_096));
        assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us, "{row:?}");
        let row = sequential(folder.path(), 0.2).unwrap();
        assert!(row.messages > 0 && row.remark.ends_with("MB/s"), "{row:?}");
    }
}
