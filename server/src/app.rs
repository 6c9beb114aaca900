//! Builds all modules, runs them, and ends them in order.

mod open;
mod tenants;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use posthouse_engine::halt::Halt;
use posthouse_proto::v1::{
    consumer_server::ConsumerServer, messages_server::MessagesServer, publisher_server::PublisherServer,
    queues_server::QueuesServer,
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tower::Layer as _;
use tracing::{error, info, warn};

use self::open::{Components, open};
use crate::{
    catalogue::{Catalogue, CatalogueError, FromLog},
    clock::Clock,
    config::{Config, ConfigNotice, Severity},
    disk_space::DiskGuard,
    door::{Door, DoorError},
    identity::{self, TokenVerifier},
    limits,
    log::{GroupId, Log, LogOpenError},
    observe::{Management, ObserveError, Observer, Phase, Sources},
    out::Out,
    reload::Reloader,
    rpc::{self, Auth, AuthLayer, Context, Envelope, Explain, Intake},
    shard::{Event, ShardError, Shards},
    store::{DataDir, DataDirError, FlushError, Flusher, FlusherOptions, Store, StoreError, StoreOpenError},
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
    /// The catalogue refused the declared tenants.
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
    /// The server has stopped, and the sink of the access records has not accepted the last of them.
    #[error(
        "the server has stopped in good order, but for its last access records: {0} are lost, since what they go to \
         took none until the drain deadline"
    )]
    RecordsLost(usize),
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

/// The part of the drain deadline that is reserved for writing the last lines of the log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The part of the drain deadline that is reserved for finishing accepted commands and flushing the store.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// How a server is run, beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The operator's word that the wall clock is right although it has jumped more than seven days ahead.
    pub accept_clock_jump: bool,
    /// Notified when certificates, authorities and key sets are to be read again at once.
    pub reread: Arc<Notify>,
    /// The output of the program's log. Access records can be written to it too, and the lines that it drops are
    /// counted. `None` stands for standard error, which should then have no other writer.
    pub log: Option<Out>,
}

/// Runs a server until `shutdown`, then drains it: nothing more is leased, streams are notified, and every answered
/// command is durable.
///
/// # Errors
/// When it cannot start, or has lost access records at its end. But for the management listener, nothing listens before
/// everything else is ready.
pub async fn serve(
    config: Config,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let begun = Instant::now();
    // The listener lives to the end of this function.
    let log = options.log.clone().unwrap_or_else(Out::stderr);
    let (observer, _management) = observe(&config, log).await?;
    let Components {
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
    } = open(&config, &options, &observer)?;
    let configuring = tenants::declare(&config, &catalogue, &shards, &observer).await?;
    let quota = tenants::quota(&config, &catalogue, &shards, &usages).await;
    let flusher = Arc::new(flusher(&shards, &catalogue, &store, &log, &observer)?);
    let drain = CancellationToken::new();
    let disk = Arc::new(DiskGuard::new(config.server.min_free_disk_bytes, ballast));
    disk.check(&store);
    let watching = tokio::spawn(Arc::clone(&disk).watch(Arc::clone(&store), Arc::clone(&flusher)));
    let context = Context::new(
        shards.clone(),
        catalogue,
        Arc::clone(&store),
        Arc::clone(&bodies),
        Arc::clone(&disk),
        quota,
        Arc::clone(&observer),
        Arc::clone(&clock),
        drain.clone(),
    );
    let (streams, fair_gate) = (context.streams.clone(), Arc::clone(&context.fair_gate));
    crate::door::raise_files_limit();
    let door = Door::bind(&config, Arc::clone(&observer))?;
    let tokens = Arc::new(TokenVerifier::new(config.identity.tokens.clone(), config.issuers.iter().cloned()));
    let (trust, verifier) = (door.trust(), Arc::clone(&tokens));
    let reloader = Reloader::new(&config, trust, verifier, options.reread, Arc::clone(&observer));
    let reloading = tokio::spawn(reloader.run());
    let recording = tokio::spawn(record(Arc::clone(&observer), shards.clone()));
    info!(address = %door.local_addr(), shards = config.server.shards, "listening");
    observer.watch(Sources {
        store: Arc::clone(&store),
        log: Arc::clone(&log),
        bodies,
        disk,
        clock: Arc::clone(&clock),
        tokens: Arc::clone(&tokens),
        accounts: door.accounts(),
        fair_gate,
    });
    let timing = begin_serving(&observer, begun, &clock);
    let (routes, deadline) = (routes(context, &tokens, &observer), connections_deadline(&config));
    let draining = begin_draining(shutdown, &observer, &shards, &drain);
    let ((), drained_at) = tokio::join!(door.serve(routes, drain.clone(), deadline), draining);
    end_tasks([watching, reloading, configuring, timing, recording]).await;
    end_streams(&streams).await;
    observer.close_sources();
    let until = drained_at + config.server.drain_deadline;
    let end = move || {
        finish(&*log, flusher, &shards, &to_catalogue, workers, (store, data_dir));
        observer.close(until.checked_sub(LAST_WORDS).unwrap_or(until))
    };
    let lost = tokio::task::spawn_blocking(end).await.map_err(|why| ServeError::State(why.to_string()))?;
    info!("stopped");
    if lost > 0 { Err(ServeError::RecordsLost(lost)) } else { Ok(()) }
}

/// Logs what an operator should know of the configuration and of the files that it names.
fn log_notices(config: &Config) {
    for ConfigNotice { what, severity } in &config.notices {
        match severity {
            Severity::Information => info!("{what}"),
            Severity::Warning | Severity::Refused => warn!("{what}"),
        }
    }
}

/// Connections are closed early enough for the rest to be done by the deadline.
fn connections_deadline(config: &Config) -> Duration {
    let deadline = config.server.drain_deadline;
    deadline.saturating_sub(AFTER_DRAIN).max(deadline / 2)
}

/// Waits for the request to drain, and notifies all modules. Returns when that was.
async fn begin_draining(
    shutdown: impl Future<Output = ()>,
    observer: &Observer,
    shards: &Shards,
    drain: &CancellationToken,
) -> Instant {
    shutdown.await;
    let drained_at = Instant::now();
    info!("draining: no new leases, streams are told");
    observer.enter(Phase::Draining);
    shards.send_all(|| Event::Drain);
    drain.cancel();
    drained_at
}

/// Completes access records for as long as it is polled. While there is no slot for another record, the server is not
/// ready; if deliveries are recorded, nothing is leased.
async fn record(observer: Arc<Observer>, shards: Shards) {
    let pausing = async {
        let (mut blocked, mut paused) = (observer.access.blocked(), false);
        while blocked.wait_for(|blocked| *blocked != paused).await.is_ok() {
            paused = !paused;
            observer.readiness.unrecorded(paused);
            if observer.access.keeps_messages() {
                shards.send_all(|| Event::Pause(paused));
            }
            if paused {
                error!(
                    "there is no place for another access record: what would be recorded is refused or waits"
                );
            } else {
                info!("access records are taken again: everything goes on");
            }
        }
    };
    tokio::join!(observer.access.run(), pausing);
}

async fn end_tasks<const N: usize>(tasks: [JoinHandle<()>; N]) {
    for task in tasks {
        task.abort();
        // It was aborted just now.
        drop(task.await);
    }
}

/// Finishes the accepted commands, then flushes the store, so that a restart has nothing to replay.
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
    // RocksDB is closed here, before the process destroys its globals.
    if Arc::into_inner(store).is_none() {
        warn!("the store is still in use at the end");
    }
    drop(data_dir);
}

/// Starts the observer, and its listener if one is configured.
async fn observe(config: &Config, log: Out) -> Result<(Arc<Observer>, Option<Management>), ServeError> {
    log_notices(config);
    let observer = Observer::new(config, log)?;
    if let Some(not_after) = config.tls.chain.first().and_then(|leaf| identity::not_after(leaf)) {
        observer.metrics.certificate_not_after(not_after);
    }
    let Some(address) = config.observe.management else { return Ok((observer, None)) };
    let management = Management::open(address, Arc::clone(&observer)).await.map_err(ObserveError::from)?;
    Ok((observer, Some(management)))
}

/// The clock is watched from here on.
fn begin_serving(observer: &Observer, begun: Instant, clock: &Arc<Clock>) -> JoinHandle<()> {
    observer.metrics.shard.start.set(begun.elapsed().as_secs_f64());
    observer.enter(Phase::Serving);
    if clock.expiry_halted() {
        warn!(
            "the wall clock is more than seven days ahead of the last batch: nothing expires until the server is \
             started with --accept-clock-jump"
        );
    }
    tokio::spawn(Arc::clone(clock).watch())
}

/// Streams see that their connections are closed, and end.
async fn end_streams(streams: &TaskTracker) {
    streams.close();
    if tokio::time::timeout(STREAMS_END, streams.wait()).await.is_err() {
        warn!(streams = streams.len(), "streams did not end with their connections");
    }
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
    let watcher = Arc::clone(observer);
    let on_error = |why: &FlushError, watcher: &Observer| match why {
        FlushError::Store(store) if !store.is_no_space() => {
            error!(%why, "the store cannot be flushed; the server ends, and a restart replays the log");
            watcher.die();
        }
        FlushError::Store(_) | FlushError::Log(_) => {
            warn!(%why, "a flush did not complete; it is tried again")
        }
    };
    let on_flush = move |flushed: Result<Duration, &FlushError>| match flushed {
        Ok(duration) => watcher.flushed(Some(duration)),
        Err(why) => {
            watcher.flushed(None);
            on_error(why, &watcher);
        }
    };
    let options = FlusherOptions::default();
    Flusher::start(Arc::clone(store), Arc::clone(log), options, Box::new(applied), on_flush)
        .map_err(ServeError::Thread)
}

/// The services and layers that answer authenticated calls.
type Calls = rpc::AcquireTenantSlot<Envelope<Intake<rpc::RecordChanges<Explain<Routes>>>>>;

fn routes(
    context: Context,
    tokens: &Arc<TokenVerifier>,
    observer: &Arc<Observer>,
) -> rpc::Watch<Auth<Calls>> {
    let tasks = context.streams.clone();
    let calls =
        rpc::CallLimits { quota: context.quota.clone(), refused: observer.metrics.rpc.calls_limited.clone() };
    let context = Arc::new(context);
    let publisher = rpc::PublisherService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let consumer = rpc::ConsumerService { context: Arc::clone(&context), tokens: Arc::clone(tokens) };
    let queues = rpc::QueuesService { context: Arc::clone(&context) };
    let messages = rpc::MessagesService { context: Arc::clone(&context) };
    let max_frame = limits::MAX_FRAME_BYTES;
    let routes = Routes::new(PublisherServer::new(publisher).max_decoding_message_size(max_frame))
        .add_service(ConsumerServer::new(consumer).max_decoding_message_size(max_frame))
        .add_service(QueuesServer::new(queues).max_decoding_message_size(max_frame))
        .add_service(MessagesServer::new(messages).max_decoding_message_size(max_frame))
        .add_service(rpc::health(observer));
    let changes = rpc::RecordChanges::new(Arc::clone(observer), tasks, rpc::explain(routes.prepare()));
    let services = rpc::AcquireTenantSlot(Envelope::new(Intake::new(context, changes)));
    let guarded = AuthLayer::new(Arc::clone(tokens), calls).layer(services);
    rpc::WatchLayer::new(Arc::clone(observer)).layer(guarded)
}
