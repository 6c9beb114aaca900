//! The only file that knows every room: builds them, runs them, ends them in order.

mod tenants;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use posthouse_engine::{catalogue::CatalogueMachine, halt::Halt, ids::ShardId};
use posthouse_proto::v1::{
    consumer_server::ConsumerServer, messages_server::MessagesServer, publisher_server::PublisherServer,
    queues_server::QueuesServer,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tower::Layer as _;
use tracing::{error, info, warn};

use crate::{
    bodies::BodyCache,
    catalogue::{self, Catalogue, CatalogueError, FromLog},
    clock::Clock,
    config::Config,
    disk::{Ballast, DiskGuard},
    door::{Door, DoorError},
    identity::{self, TokenVerifier},
    limits,
    log::{GroupId, LocalLog, LocalLogOptions, Log, LogOpenError, OpenLog, ReplayError, Watched},
    observe::{Management, ObserveError, Observer, Phase, Sources},
    quota::Usages,
    reload::Reloader,
    rpc::{self, Auth, AuthLayer, Context, Envelope},
    shard::{self, Event, ShardError, Shards, StartShard, ToWorkers, WorkerStart, start_workers},
    store::{
        DataDir, DataDirError, FlushError, Flusher, FlusherOptions, Store, StoreError, StoreOpenError,
        StoreOptions,
    },
};

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be opened.
    #[error(transparent)]
    StoreOpen(#[from] StoreOpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be opened.
    #[error(transparent)]
    LogOpen(#[from] LogOpenError),
    /// What is stored cannot be read.
    #[error("the stored state cannot be used: {0}; restore a backup, or report this with the server's log")]
    State(String),
    /// The declared tenants were not taken.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A department could not be configured on its shard.
    #[error("a department could not be configured: {0}")]
    Shard(#[from] ShardError),
    /// It cannot be watched: above all, the management port cannot be opened.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The port cannot be opened, or TLS cannot be set up.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

impl From<Halt> for ServeError {
    fn from(halt: Halt) -> Self {
        Self::State(halt.to_string())
    }
}

/// How long streams may take to see that their connections are closed.
const STREAMS_END: Duration = Duration::from_secs(1);

/// What of the drain deadline is kept for finishing what was accepted and flushing the store.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// How a server is run, beside its configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServeOptions {
    /// The operator's word that the wall clock is right although it has jumped more than seven days ahead.
    pub accept_clock_jump: bool,
}

/// Runs a server until `shutdown`, then drains it: no new leases, streams are told, what is acked is durable.
///
/// # Errors
/// When it cannot start. But for the management listener, nothing listens before everything else is ready.
pub async fn serve(
    config: Config,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let begun = Instant::now();
    let observer = Observer::new(&config)?;
    if let Some(not_after) = config.tls.chain.first().and_then(|leaf| identity::not_after(leaf)) {
        observer.metrics.certificate_not_after(not_after);
    }
    // From here to the end of this function.
    let _management = match config.observe.management {
        Some(address) => {
            Some(Management::open(address, Arc::clone(&observer)).await.map_err(ObserveError::from)?)
        }
        None => None,
    };
    let Rooms {
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
    } = open(&config, options, &observer)?;
    let untold = tenants::declare(&config, &catalogue, &shards).await?;
    let quota = tenants::quota(&config, &catalogue, &shards, &usages).await;
    let flusher = Arc::new(flusher(&shards, &catalogue, &store, &log, &observer)?);
    let drain = CancellationToken::new();
    let disk = Arc::new(DiskGuard::new(config.server.min_free_disk_bytes, ballast));
    disk.look(&store);
    let watching = tokio::spawn(Arc::clone(&disk).watch(Arc::clone(&store), Arc::clone(&flusher)));
    let configuring = tokio::spawn(tenants::configure_again(shards.clone(), untold));
    let streams = TaskTracker::new();
    let context = Context::new(
        shards.clone(),
        catalogue,
        Arc::clone(&store),
        Arc::clone(&bodies),
        Arc::clone(&disk),
        quota,
        Arc::clone(&observer),
        drain.clone(),
        streams.clone(),
    );
    let door = Door::bind(&config, Arc::clone(&observer))?;
    let tokens = TokenVerifier::new(config.identity.tokens.clone(), config.issuers.iter().cloned());
    let tokens = Arc::new(tokens);
    let reloader = Reloader::new(&config, door.trust(), Arc::clone(&tokens), Arc::clone(&observer));
    let reloading = tokio::spawn(reloader.run());
    info!(address = %door.local_addr(), shards = config.server.shards, "listening");
    observer.watch(Sources {
        store: Arc::clone(&store),
        log: Arc::clone(&log),
        bodies,
        disk,
        clock: Arc::clone(&clock),
        tokens: Arc::clone(&tokens),
    });
    observer.metrics.shard.start.set(begun.elapsed().as_secs_f64());
    observer.enter(Phase::Serving);
    if clock.expiry_halted() {
        warn!(
            "the wall clock is more than seven days ahead of the last batch: nothing expires until the server is \
             started with --accept-clock-jump"
        );
    }
    // Connections are closed early enough for the rest to be done by the deadline.
    let deadline = config.server.drain_deadline;
    let deadline = deadline.saturating_sub(AFTER_DRAIN).max(deadline / 2);
    let serving = door.serve(routes(context, &tokens, &observer), drain.clone(), deadline);
    let draining = async {
        shutdown.await;
        info!("draining: no new leases, streams are told");
        observer.enter(Phase::Draining);
        shards.send_all(|| Event::Drain);
        drain.cancel();
    };
    tokio::join!(serving, draining);
    for task in [watching, reloading, configuring] {
        task.abort();
        // It was aborted just now.
        drop(task.await);
    }
    streams.close();
    if tokio::time::timeout(STREAMS_END, streams.wait()).await.is_err() {
        warn!(streams = streams.len(), "streams did not end with their connections");
    }
    observer.look_away();
    let end = move || finish(&*log, flusher, &shards, &to_catalogue, workers, (store, data_dir));
    tokio::task::spawn_blocking(end).await.map_err(|why| ServeError::State(why.to_string()))?;
    let closing = Arc::clone(&observer);
    let closed = tokio::task::spawn_blocking(move || closing.close());
    closed.await.map_err(|why| ServeError::State(why.to_string()))?;
    info!("stopped");
    Ok(())
}

/// What was accepted is finished, then the store takes it all, so that a restart has nothing to replay.
fn finish(
    log: &dyn Log,
    flusher: Arc<Flusher>,
    shards: &Shards,
    to_catalogue: &mpsc::Sender<FromLog>,
    mut workers: Vec<std::thread::JoinHandle<()>>,
    (store, data_dir): (Arc<Store>, DataDir),
) {
    log.close();
    if let Err(why) = flusher.flush() {
        warn!(%why, "the last flush did not complete; a restart replays the log");
    }
    drop(flusher);
    shards.send_all(|| Event::Stop);
    drop(to_catalogue.send(FromLog::Stop));
    workers.drain(..).for_each(|worker| drop(worker.join()));
    // RocksDB is closed here, before the process takes its globals apart.
    if Arc::into_inner(store).is_none() {
        warn!("the store is still in use at the end");
    }
    drop(data_dir);
}

/// Everything under the network.
struct Rooms {
    store: Arc<Store>,
    log: Arc<dyn Log>,
    bodies: Arc<BodyCache>,
    clock: Arc<Clock>,
    shards: Shards,
    workers: Vec<std::thread::JoinHandle<()>>,
    catalogue: Arc<Catalogue>,
    to_catalogue: mpsc::Sender<FromLog>,
    usages: Arc<Usages>,
    ballast: Ballast,
    /// Held, so that no second process opens the data.
    data_dir: DataDir,
}

fn open(config: &Config, options: ServeOptions, observer: &Arc<Observer>) -> Result<Rooms, ServeError> {
    // At most 1,024, as the configuration was checked.
    let shard_count = u16::try_from(config.server.shards).unwrap_or(u16::MAX);
    let mut data_dir = DataDir::open(&config.server.data_dir, shard_count)?;
    let ballast = Ballast::new(&config.server.data_dir, config.server.min_free_disk_bytes);
    let store = Arc::new(Store::open(&data_dir.store(), &StoreOptions::default())?);
    let watch = Watched::by(Arc::clone(observer) as _);
    let log_options = LocalLogOptions { watch, ..LocalLogOptions::default() };
    let open_log = LocalLog::open(&data_dir.log(), log_options)?;
    observer.has_shards(shard_count);
    let (machines, catalogue_machine) = replay(&store, &open_log, shard_count, observer)?;
    let last_ms =
        machines.iter().map(|s| s.machine.now_ms()).chain([catalogue_machine.now_ms()]).max().unwrap_or(0);
    let clock = Arc::new(Clock::start(last_ms, options.accept_clock_jump));
    let bodies = Arc::new(BodyCache::new(limits::BODY_CACHE_BYTES));
    let worker_count =
        std::thread::available_parallelism().map_or(2, usize::from).min(usize::from(shard_count));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..worker_count).map(|_| mpsc::channel()).unzip();
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
    Ok(Rooms {
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
            Ok(shard.replay(store, entry)?)
        })
        .map_err(unreadable)?;
    }
    if replayed > 0 {
        info!(batches = replayed, "replayed the log");
    }
    observer.metrics.shard.replayed.set(i64::try_from(replayed).unwrap_or(i64::MAX));
    Ok((shards, catalogue))
}

fn flusher(
    shards: &Shards,
    catalogue: &Arc<Catalogue>,
    store: &Arc<Store>,
    log: &Arc<dyn Log>,
    observer: &Arc<Observer>,
) -> Result<Flusher, ServeError> {
    let (shards, catalogue) = (shards.clone(), Arc::clone(catalogue));
    let applied = move || {
        let mut applied: BTreeMap<GroupId, u64> = shards.applied().into_iter().collect();
        applied.insert(GroupId::CATALOGUE, catalogue.applied_index());
        applied
    };
    let on_error = |why: &FlushError| match why {
        FlushError::Store(store) if !store.is_no_space() => {
            error!(%why, "the store cannot be flushed; the server ends, and a restart replays the log");
            std::process::exit(crate::EXIT_IO);
        }
        FlushError::Store(_) | FlushError::Log(_) => {
            warn!(%why, "a flush did not complete; it is tried again")
        }
    };
    let watcher = Arc::clone(observer);
    let on_flush = move |flushed: Result<Duration, &FlushError>| match flushed {
        Ok(duration) => watcher.flushed(Some(duration)),
        Err(why) => {
            watcher.flushed(None);
            on_error(why);
        }
    };
    let options = FlusherOptions::default();
    Flusher::start(Arc::clone(store), Arc::clone(log), options, Box::new(applied), on_flush)
        .map_err(ServeError::Thread)
}

fn routes(
    context: Context,
    tokens: &Arc<TokenVerifier>,
    observer: &Arc<Observer>,
) -> rpc::Watch<Auth<Envelope<Routes>>> {
    let context = Arc::new(context);
    let publisher = rpc::PublisherService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let consumer = rpc::ConsumerService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let queues = rpc::QueuesService { context: Arc::clone(&context) };
    let messages = rpc::MessagesService { context };
    let most = limits::MAX_FRAME_BYTES;
    let routes = Routes::new(PublisherServer::new(publisher).max_decoding_message_size(most))
        .add_service(ConsumerServer::new(consumer).max_decoding_message_size(most))
        .add_service(QueuesServer::new(queues).max_decoding_message_size(most))
        .add_service(MessagesServer::new(messages).max_decoding_message_size(most))
        .add_service(rpc::health(observer));
    let guarded = AuthLayer::new(Arc::clone(tokens)).layer(Envelope::new(routes.prepare()));
    rpc::WatchLayer::new(Arc::clone(observer)).layer(guarded)
}
