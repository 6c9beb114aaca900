//! The only file that knows every room: builds them, runs them, ends them in order.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use posthouse_engine::{
    catalogue::CatalogueMachine,
    halt::Halt,
    ids::ShardId,
    outcome::Outcome,
    schema::{Command, ConfigureDepartment, Declare, DeclaredTenant},
};
use posthouse_proto::v1::{
    consumer_server::ConsumerServer, publisher_server::PublisherServer, queues_server::QueuesServer,
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
    disk::DiskGuard,
    door::{Door, DoorError},
    identity::{self, TokenVerifier},
    limits,
    log::{GroupId, LocalLog, LocalLogOptions, Log, LogOpenError, OpenLog, ReplayError, Watched},
    observe::{Management, ObserveError, Observer, Phase, Sources},
    rpc::{self, Auth, AuthLayer, Context},
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
    // The listener lives to the end of this function.
    let (observer, _management) = observe(&config).await?;
    let opened = open(&config, options, &observer)?;
    let Rooms { store, log, bodies, clock, shards, mut workers, catalogue, to_catalogue, data_dir } = opened;
    declare(&config, &catalogue, &shards).await?;
    let flusher = flusher(&shards, &catalogue, &store, &log, &observer)?;
    let drain = CancellationToken::new();
    let disk = Arc::new(DiskGuard::default());
    disk.look(&store);
    let watching = tokio::spawn(Arc::clone(&disk).watch(Arc::clone(&store)));
    let context = Context::new(
        shards.clone(),
        catalogue,
        Arc::clone(&store),
        Arc::clone(&bodies),
        Arc::clone(&disk),
        Arc::clone(&observer),
        drain.clone(),
    );
    let streams = context.streams.clone();
    let door = Door::bind(&config, Arc::clone(&observer))?;
    let tokens = Arc::new(TokenVerifier::new(config.identity.tokens, config.issuers));
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
    warn_of_halted_expiry(&clock);
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
    watching.abort();
    // It was aborted just now.
    drop(watching.await);
    end_streams(&streams).await;
    observer.look_away();
    // What was accepted is finished, then the store takes it all, so that a restart has nothing to replay.
    let end = move || {
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
        observer.close();
    };
    tokio::task::spawn_blocking(end).await.map_err(|why| ServeError::State(why.to_string()))?;
    info!("stopped");
    Ok(())
}

/// What watches the server, and its listener, if one is configured.
async fn observe(config: &Config) -> Result<(Arc<Observer>, Option<Management>), ServeError> {
    let observer = Observer::new(config)?;
    if let Some(not_after) = config.tls.chain.first().and_then(|leaf| identity::not_after(leaf)) {
        observer.metrics.certificate_not_after(not_after);
    }
    let Some(address) = config.observe.management else { return Ok((observer, None)) };
    let management = Management::open(address, Arc::clone(&observer)).await.map_err(ObserveError::from)?;
    Ok((observer, Some(management)))
}

fn warn_of_halted_expiry(clock: &Clock) {
    if clock.expiry_halted() {
        warn!(
            "the wall clock is more than seven days ahead of the last batch: nothing expires until the server is \
             started with --accept-clock-jump"
        );
    }
}

/// Streams see that their connections are closed, and end.
async fn end_streams(streams: &TaskTracker) {
    streams.close();
    if tokio::time::timeout(STREAMS_END, streams.wait()).await.is_err() {
        warn!(streams = streams.len(), "streams did not end with their connections");
    }
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
    /// Held, so that no second process opens the data.
    data_dir: DataDir,
}

fn open(config: &Config, options: ServeOptions, observer: &Arc<Observer>) -> Result<Rooms, ServeError> {
    // At most 1,024, as the configuration was checked.
    let shard_count = u16::try_from(config.server.shards).unwrap_or(u16::MAX);
    let mut data_dir = DataDir::open(&config.server.data_dir, shard_count)?;
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
    let context = shard::WorkerContext::new(
        Arc::clone(&store),
        Arc::clone(&log),
        Arc::clone(&clock),
        Arc::clone(&bodies),
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
    Ok(Rooms { store, log, bodies, clock, shards, workers, catalogue, to_catalogue, data_dir })
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

/// Declares tenants and departments, and tells each shard of its own.
async fn declare(config: &Config, catalogue: &Catalogue, shards: &Shards) -> Result<(), ServeError> {
    let tenant = |tenant: &crate::config::Tenant| DeclaredTenant {
        name: tenant.name.to_string(),
        departments: tenant.departments.iter().map(ToString::to_string).collect(),
    };
    catalogue.declare(Declare { tenants: config.tenants.iter().map(tenant).collect() }).await?;
    let directory = catalogue.directory();
    let configuring: Vec<_> = directory
        .departments()
        .map(|department| {
            shards.propose(
                department.shard,
                Command::ConfigureDepartment(ConfigureDepartment {
                    department: department.id.0,
                    catalogue_index: department.changed_at_index,
                    tenant: department.tenant.0,
                    closed: department.closed,
                }),
            )
        })
        .collect();
    for configured in configuring {
        match configured.await.unwrap_or(Err(ShardError::Stopping)) {
            // A halted shard says so to its callers, and was logged; the other departments are served.
            Ok(Outcome::ConfigureDepartment(_)) | Err(ShardError::Halted(_)) => {}
            Err(why) => return Err(why.into()),
            Ok(_) => {
                return Err(ServeError::State("a configuration was answered by another outcome".to_owned()));
            }
        }
    }
    Ok(())
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
) -> rpc::Watch<Auth<Routes>> {
    let context = Arc::new(context);
    let publisher = rpc::PublisherService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let consumer = rpc::ConsumerService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let queues = rpc::QueuesService { context };
    let routes = Routes::new(PublisherServer::new(publisher))
        .add_service(ConsumerServer::new(consumer))
        .add_service(QueuesServer::new(queues))
        .add_service(rpc::health(observer));
    let guarded = AuthLayer::new(Arc::clone(tokens)).layer(routes.prepare());
    rpc::WatchLayer::new(Arc::clone(observer)).layer(guarded)
}
