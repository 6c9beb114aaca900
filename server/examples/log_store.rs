//! Measures what a log store costs: the local log, a RocksDB with its own log, and the bare disk, each making groups
//! of 1 KiB records durable with one sync per group. Figures and decision: `docs/adr/0001-log-store.md`.
//!
//! ```text
//! cargo run --release -p posthouse-server --example log_store [FOLDER]
//! ```

use std::{
    error::Error,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use posthouse_server::log::{CommitSink, Entry, GroupId, LocalLog, LocalLogOptions, Log, ProposeError};

const RECORD: usize = 1 << 10;
const SHARDS: u16 = 64;
/// Rounds alternate between the stores, so that a neighbour's load meets all of them.
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let dir = folder.join(format!("log-store-{}", std::process::id()));
    println!("| store | group | records/s | median | 99 % | CPU per record | written per byte |");
    println!("|---|---|---|---|---|---|---|");
    let stores = [("bare disk", bare as Run), ("local log", local), ("RocksDB, own log", rocks)];
    for group in [128 << 10, 1 << 20] {
        let mut measured = stores.map(|_| Measured::default());
        for _ in 0..ROUNDS {
            for ((_, run), measured) in stores.iter().zip(&mut measured) {
                std::fs::create_dir_all(&dir)?;
                let before = usage()?;
                measured.took.extend(run(&dir, group)?);
                let after = usage()?;
                measured.cpu += after.0 - before.0;
                measured.written += after.1 - before.1;
                std::fs::remove_dir_all(&dir)?;
            }
        }
        for ((name, _), measured) in stores.iter().zip(measured) {
            report(name, group, measured);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Measured {
    took: Vec<Duration>,
    cpu: Duration,
    written: u64,
}

/// CPU time of this process, and bytes it had written to disk.
fn usage() -> Result<(Duration, u64), Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).flat_map(str::parse::<u64>).sum();
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0").parse()?;
    Ok((Duration::from_millis(ticks * 10), written))
}

/// Makes groups durable one after another for a while, and says how long each took.
type Run = fn(&Path, usize) -> Result<Vec<Duration>, Box<dyn Error>>;

fn repeat(mut once: impl FnMut(u64) -> Result<(), Box<dyn Error>>) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut took = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < ROUND {
        let start = Instant::now();
        once(took.len() as u64)?;
        took.push(start.elapsed());
    }
    Ok(took)
}

fn report(name: &str, group: usize, mut measured: Measured) {
    let took = &mut measured.took;
    took.sort_unstable();
    let at = |percent: usize| {
        took.get(took.len() * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let records = (took.len() * group / RECORD) as f64;
    println!(
        "| {name} | {} KiB | {:.0} | {:.2} ms | {:.2} ms | {:.1} µs | {:.2} |",
        group >> 10,
        records / took.iter().sum::<Duration>().as_secs_f64(),
        at(50),
        at(99),
        measured.cpu.as_secs_f64() * 1e6 / records,
        measured.written as f64 / (records * RECORD as f64),
    );
}

/// Data no file system makes smaller.
fn record() -> Vec<u8> {
    (0..RECORD).map(|_| rand::random()).collect()
}

/// One write and one sync per group into allocated space: the floor.
fn bare(dir: &Path, group: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(dir.join("bare"))?;
    let size: u64 = 64 << 20;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    file.sync_all()?;
    let data = record().repeat(group / RECORD);
    repeat(|nth| {
        file.write_all_at(&data, nth * group as u64 % size)?;
        Ok(file.sync_data()?)
    })
}

/// Counts entries and wakes whoever waits for them.
struct Counter {
    done: AtomicU64,
    waiter: Mutex<std::thread::Thread>,
}

impl CommitSink for Counter {
    fn committed(&self, entries: Vec<Entry>) {
        self.done.fetch_add(entries.len() as u64, Ordering::SeqCst);
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner).unpark();
    }

    fn refused(&self, group: GroupId, _: Vec<Bytes>, why: ProposeError) {
        eprintln!("{group}: {why}");
        std::process::exit(74);
    }
}

/// The local log through its public face: records of all shards, each proposed by itself, one group at a time.
fn local(dir: &Path, group: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let sink = Arc::new(Counter { done: AtomicU64::new(0), waiter: Mutex::new(std::thread::current()) });
    let log = LocalLog::open(dir, LocalLogOptions::default())?.start(sink.clone())?;
    let data = record();
    // One proposal per shard, so that the committer finds a whole group soon.
    let per_shard = data.repeat(group / RECORD / usize::from(SHARDS));
    repeat(|nth| {
        for shard in 0..SHARDS {
            log.propose(GroupId(shard), per_shard.clone())?;
        }
        while sink.done.load(Ordering::SeqCst) < (nth + 1) * u64::from(SHARDS) {
            std::thread::park();
        }
        Ok(())
    })
}

/// A second RocksDB for the log: one row per record, its own write-ahead log flushed and synced once per group.
fn rocks(dir: &Path, group: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_manual_wal_flush(true);
    options.set_write_buffer_size(128 << 20);
    let db = rocksdb::DB::open(&options, dir)?;
    let data = record();
    repeat(|nth| {
        let mut batch = rocksdb::WriteBatch::with_capacity_bytes(group + group / 16);
        for record in 0..group / RECORD {
            let shard = (record % usize::from(SHARDS)) as u16;
            let key = [&shard.to_be_bytes()[..], &nth.to_be_bytes(), &(record as u32).to_be_bytes()].concat();
            batch.put(key, &data);
        }
        db.write(batch)?;
        Ok(db.flush_wal(true)?)
    })
}
