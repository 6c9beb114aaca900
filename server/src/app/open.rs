//! Opens what is below the network, and replays the log.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use posthouse_engine::{catalogue::CatalogueMachine, halt::Halt, ids::ShardId};
use tracing::info;

use super::{ServeError, ServeOptions};
use crate::{
    bodies::BodyCache,
    catalogue::{self, Catalogue, FromLog},
    clock::{Clock, LastStamp},
    config::Config,
    disk_space::Ballast,
    limits,
    log::{GroupId, LocalLog, LocalLogOptions, Log, OnFatal, OpenLog, ReplayError, Watched},
    observe::Observer,
    quota::Usages,
    shard::{self, Shards, StartShard, ToWorkers, WorkerStart, start_workers},
    store::{DataDir, Store, StoreOptions},
};

/// Everything under the network.
pub(super) struct Components {
    pub(super) store: Arc<Store>,
    pub(super) log: Arc<dyn Log>,
    pub(super) bodies: Arc<BodyCache>,
    pub(super) clock: Arc<Clock>,
    pub(super) shards: Shards,
    pub(super) workers: Vec<std::thread::JoinHandle<()>>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) to_catalogue: mpsc::Sender<FromLog>,
    pub(super) usages: Arc<Usages>,
    pub(super) ballast: Ballast,
    /// Held, so that no second process opens the data.
    pub(super) data_dir: DataDir,
}

/// Opens the data folder, replays the log, and starts what works on it.
pub(super) fn open(
    config: &Config,
    options: &ServeOptions,
    observer: &Arc<Observer>,
) -> Result<Components, ServeError> {
    // The configuration was checked: there are at most 1,024.
    let shard_count = u16::try_from(config.server.shards).unwrap_or(u16::MAX);
    let mut data_dir = DataDir::open(&config.server.data_dir, shard_count)?;
    let ballast = Ballast::new(&config.server.data_dir, config.server.min_free_disk_bytes);
    let store = Arc::new(Store::open(&data_dir.store(), &StoreOptions::default())?);
    let watch = Watched::by(Arc::clone(observer) as _);
    // Files that wait to be recycled are removed before publishes are refused.
    let above = config.server.min_free_disk_bytes.saturating_add(limits::RECYCLED_LOG_FREE_BYTES);
    let dying = Arc::clone(observer);
    let log_options = LocalLogOptions {
        watch,
        recycle_above_free_bytes: Some(above),
        on_fatal: OnFatal::new(move |_| dying.die()),
        ..LocalLogOptions::default()
    };
    let open_log = LocalLog::open(&data_dir.log(), log_options)?;
    observer.has_shards(shard_count);
    let (machines, catalogue_machine) = replay(&store, &open_log, shard_count, observer)?;
    let last = last_stamp(&machines, &catalogue_machine);
    let clock = Arc::new(Clock::start(last, options.accept_clock_jump));
    let bodies = Arc::new(BodyCache::new(limits::BODY_CACHE_BYTES));
    let worker_count =
        std::thread::available_parallelism().map_or(2, usize::from).min(usize::from(shard_count));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..worker_count).map(|_| shard::fair_queue()).unzip();
    let shards = Shards::new(senders);
    let (to_catalogue, catalogue_events) = mpsc::channel();
    let sink = Arc::new(ToWorkers { shards: shards.clone(), catalogue: to_catalogue.clone() });
    let log: Arc<dyn Log> = Arc::new(open_log.start(sink)?);
    data_dir.log_has_begun()?;
    let mut parts: Vec<WorkerStart> =
        receivers.into_iter().map(|events| WorkerStart { events, shards: Vec::new() }).collect();
    for shard in machines {
        if let Some(part) = parts.get_mut(shard::worker_of(shard.shard, worker_count)) {
            part.shards.push(shard);
        }
    }
    let usages = Arc::new(Usages::default());
    let context = shard::WorkerContext::new(
        Arc::clone(&store),
        Arc::clone(&log),
        Arc::clone(&clock),
        Arc::clone(&bodies),
        Arc::clone(&usages),
        Arc::clone(observer),
    );
    let mut workers = start_workers(parts, &Arc::new(context)).map_err(ServeError::Thread)?;
    let catalogue = Catalogue::start(
        catalogue_machine,
        catalogue_events,
        Arc::clone(&store),
        Arc::clone(&log),
        Arc::clone(&clock),
    );
    let (catalogue, thread) = catalogue.map_err(ServeError::Thread)?;
    workers.push(thread);
    Ok(Components {
        store,
        log,
        bodies,
        clock,
        shards,
        workers,
        catalogue,
        to_catalogue,
        usages,
        ballast,
        data_dir,
    })
}

/// The newest stamp, and what the wall clock said then. The catalogue's has none of its own.
fn last_stamp(shards: &[StartShard], catalogue: &CatalogueMachine) -> LastStamp {
    let newest = shards.iter().map(|start| &start.machine).max_by_key(|machine| machine.now_ms());
    let stamp_ms = newest.map_or(0, |machine| machine.now_ms()).max(catalogue.now_ms());
    let ahead_ms = newest.map_or(0, |machine| machine.wall_ms().wrapping_sub(machine.now_ms()));
    LastStamp { stamp_ms, wall_ms: stamp_ms.wrapping_add(ahead_ms) }
}

/// Brings the store up to the log's end: what was synced and not yet applied, or applied and not yet flushed.
fn replay(
    store: &Store,
    log: &OpenLog,
    shard_count: u16,
    observer: &Observer,
) -> Result<(Vec<StartShard>, CatalogueMachine), ServeError> {
    let mut catalogue = CatalogueMachine::hydrate(shard_count, store)?;
    let mut shards = (0..shard_count)
        .map(|shard| StartShard::hydrate(ShardId(shard), store))
        .collect::<Result<Vec<_>, Halt>>()?;
    let mut applied: BTreeMap<GroupId, u64> =
        shards.iter().map(|s| (GroupId(s.shard.0), s.machine.applied_index())).collect();
    applied.insert(GroupId::CATALOGUE, catalogue.applied_index());
    log.check_applied(&applied)?;
    let unreadable = |why: ReplayError<_>| match why {
        ReplayError::Read(why) => ServeError::State(why.to_string()),
        ReplayError::Apply(why) => why,
    };
    let mut replayed = 0_u64;
    log.replay(GroupId::CATALOGUE, catalogue.applied_index(), &mut |entry| {
        replayed += 1;
        catalogue::apply(&mut catalogue, store, entry.index, entry.data).map_err(ServeError::from)
    })
    .map_err(unreadable)?;
    for shard in &mut shards {
        log.replay(GroupId(shard.shard.0), shard.machine.applied_index(), &mut |entry| {
            replayed += 1;
            Ok(shard.replay(store, &entry)?)
        })
        .map_err(unreadable)?;
    }
    if replayed > 0 {
        info!(batches = replayed, "replayed the log");
    }
    observer.metrics.shard.replayed.set(i64::try_from(replayed).unwrap_or(i64::MAX));
    Ok((shards, catalogue))
}
