//! All shards of a node over a log in memory and a store in a folder; both outlive it.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, DepartmentId, QueueId, QueueRef, ShardId, SubscriptionRef},
    outcome::{Counts, Outcome},
    schema::{
        Command, ConfigureDepartment, CreateQueue, Grant, Holder, Publish, PublishEntry, QueueSettings,
    },
};

use super::super::{
    Event, ShardError, Shards, StartShard, ToWorkers, WorkerContext, WorkerStart, fair_queue, start_workers,
    worker_of,
};
use crate::{
    bodies::BodyCache,
    clock::Clock,
    log::{GroupId, LocalLogOptions, Log, MemDisk, MemLog},
    observe::Observer,
    store::{Store, StoreOptions},
};

pub(super) const SHARDS: u16 = 4;
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Node {
    pub(super) shards: Shards,
    pub(super) log: Arc<dyn Log>,
    workers: Vec<JoinHandle<()>>,
}

/// Every shard has one department, of the same number plus one, with one queue.
pub(super) fn at(shard: u16) -> SubscriptionRef {
    SubscriptionRef {
        queue: QueueRef { department: DepartmentId(u32::from(shard) + 1), queue: QueueId(1) },
        subscription: DEFAULT_SUBSCRIPTION,
    }
}

pub(super) fn store(dir: &Path) -> Arc<Store> {
    let small = StoreOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        open_files: 64,
        background_jobs: 2,
    };
    Arc::new(Store::open(dir, &small).unwrap())
}

/// A shard as the store and the log have it.
pub(super) fn replayed(shard: u16, store: &Store, disk: &MemDisk) -> StartShard {
    let mut start = StartShard::hydrate(ShardId(shard), store).unwrap();
    for entry in disk.entries(GroupId(shard), start.machine.applied_index()) {
        start.replay(store, &entry).unwrap();
    }
    start
}

pub(super) fn context(store: &Arc<Store>, log: &Arc<dyn Log>, clock: Clock) -> WorkerContext {
    let bodies = Arc::new(BodyCache::new(1 << 20));
    let (usages, observer) = (Arc::default(), Observer::for_tests());
    WorkerContext::new(Arc::clone(store), Arc::clone(log), Arc::new(clock), bodies, usages, observer)
}

impl Node {
    pub(super) fn start(dir: &Path, disk: &MemDisk, clock: Clock) -> Self {
        let store = store(dir);
        let starts: Vec<_> = (0..SHARDS).map(|shard| replayed(shard, &store, disk)).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| fair_queue()).unzip();
        let shards = Shards::new(senders);
        let (catalogue, _) = mpsc::channel();
        let sink = Arc::new(ToWorkers { shards: shards.clone(), catalogue });
        let options = LocalLogOptions { full_for: Duration::ZERO, ..LocalLogOptions::default() };
        let log: Arc<dyn Log> = Arc::new(MemLog::start(disk.clone(), &options, sink).unwrap());
        let mut parts: Vec<_> =
            receivers.into_iter().map(|events| WorkerStart { events, shards: Vec::new() }).collect();
        for start in starts {
            parts[worker_of(start.shard, WORKERS)].shards.push(start);
        }
        let workers = start_workers(parts, &Arc::new(context(&store, &log, clock))).unwrap();
        Self { shards, log, workers }
    }

    /// Ends without a flush: what the store has not written itself, a restart replays.
    pub(super) fn stop(self) {
        self.log.close();
        self.shards.send_all(|| Event::Stop);
        self.workers.into_iter().for_each(|worker| worker.join().unwrap());
    }

    pub(super) async fn define(&self) {
        for shard in 0..SHARDS {
            let department = u32::from(shard) + 1;
            let configure = ConfigureDepartment { department, catalogue_index: 1, tenant: 1, closed: false };
            let done = self.call(shard, Command::ConfigureDepartment(configure)).await.unwrap();
            assert_eq!(done, Outcome::ConfigureDepartment(true));
            let create = CreateQueue {
                department,
                name: "q".to_owned(),
                settings: Some(QueueSettings::default()),
                ..CreateQueue::default()
            };
            let done = self.call(shard, Command::CreateQueue(create)).await.unwrap();
            assert!(matches!(done, Outcome::CreateQueue(Ok(_))), "{done:?}");
        }
    }

    pub(super) async fn call(&self, shard: u16, command: Command) -> Result<Outcome, ShardError> {
        self.shards.call(ShardId(shard), command).await
    }

    pub(super) async fn publish(&self, shard: u16, count: usize) -> Result<Outcome, ShardError> {
        let entry = PublishEntry { content: "x".into(), payload_bytes: 1, ..PublishEntry::default() };
        let at = at(shard).queue;
        let publish = Publish {
            department: at.department.0,
            queue: at.queue.0,
            entries: vec![entry; count],
            ..Publish::default()
        };
        self.call(shard, Command::Publish(publish)).await
    }

    pub(super) async fn lease(&self, shard: u16, sequences: &[u64]) -> Outcome {
        let at = at(shard);
        let grant = Grant {
            department: at.queue.department.0,
            queue: at.queue.queue.0,
            subscription: at.subscription.0,
            holder: Some(Holder { tenant: 1, subject: "app".to_owned(), session_id: "s".into() }),
            sequences: sequences.to_vec(),
            duration_ms: 30_000,
            ..Grant::default()
        };
        self.call(shard, Command::Grant(grant)).await.unwrap()
    }

    pub(super) async fn counts(&self, shard: u16) -> Result<Counts, ShardError> {
        let counted = self.shards.query(ShardId(shard), move |m, kv| m.counts(kv, at(shard))).await?;
        Ok(counted.unwrap().unwrap())
    }

    /// Waits until a shard's counts are as wanted.
    pub(super) async fn wait(&self, shard: u16, wanted: impl Fn(Counts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts(shard).await.unwrap();
            if wanted(counts) {
                return;
            }
            assert!(Instant::now() < deadline, "{counts:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
