//! A worker's loop: handle all events that have arrived, then propose once.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use posthouse_engine::{ids::ShardId, kv::Write};
use tracing::error;

use super::{
    StartShard,
    event::{Event, ShardEvent},
    fair_queue::{EventReceiver, Received},
    replica::Replica,
};
use crate::{
    bodies::BodyCache,
    clock::Clock,
    log::{GroupId, Log},
    observe::Observer,
    quota::Usages,
    store::{ReadCost, ReadMeter, Store},
};

/// How long a worker handles events before it proposes.
const ROUND: Duration = Duration::from_millis(1);
/// A worker checks its timers at least this often, whatever the clock does.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// What all workers share.
pub(crate) struct Context {
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) bodies: Arc<BodyCache>,
    pub(crate) usages: Arc<Usages>,
    pub(crate) observer: Arc<Observer>,
    proposals: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        store: Arc<Store>,
        log: Arc<dyn Log>,
        clock: Arc<Clock>,
        bodies: Arc<BodyCache>,
        usages: Arc<Usages>,
        observer: Arc<Observer>,
    ) -> Self {
        // A random start distinguishes this process's proposals from those of the process before it.
        let proposals = AtomicU64::new(u64::from(rand::random::<u32>()) << 32);
        Self { store, log, clock, bodies, usages, observer, proposals }
    }

    pub(crate) fn next_proposal_id(&self) -> u64 {
        self.proposals.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Writes a batch's rows. The store's failure is the process's: what is synced in the log is applied at restart.
    pub(crate) fn write(&self, writes: &[Write]) {
        if let Err(why) = self.store.write(writes) {
            error!(%why, "the store cannot be written; the server ends, and a restart replays the log");
            self.observer.die();
        }
    }
}

impl Context {
    fn count(&self, cost: ReadCost) {
        let shard = &self.observer.metrics.shard;
        shard.tombstones.inc_by(cost.tombstones);
        shard.blocks_cached.inc_by(cost.cached);
        shard.blocks_read.inc_by(cost.read);
    }
}

/// One worker's part: its events and its shards.
pub(crate) struct WorkerStart {
    pub(crate) events: EventReceiver,
    pub(crate) shards: Vec<StartShard>,
}

/// Starts one thread per part.
///
/// # Errors
/// When a thread cannot be started.
pub(crate) fn start_workers(
    parts: Vec<WorkerStart>,
    context: &Arc<Context>,
) -> std::io::Result<Vec<thread::JoinHandle<()>>> {
    let start = |(number, part): (usize, WorkerStart)| {
        let context = Arc::clone(context);
        thread::Builder::new().name(format!("shards-{number}")).spawn(move || run(part, &context))
    };
    parts.into_iter().enumerate().map(start).collect()
}

fn run(part: WorkerStart, context: &Context) {
    let WorkerStart { events, shards } = part;
    let mut replicas: BTreeMap<ShardId, Replica> =
        shards.into_iter().map(|start| (start.shard, Replica::new(start, context))).collect();
    replicas.values_mut().for_each(|replica| replica.flush(context, false));
    let (mut touched, mut tried_at) = (Vec::new(), Instant::now());
    let mut meter = ReadMeter::on_this_thread();
    loop {
        // Shards that were not done the last time.
        let wait = if touched.is_empty() { sleep(&replicas, context) } else { Duration::ZERO };
        if round(&events, wait, |event| handle(event, &mut replicas, context, &mut touched)).is_break() {
            return;
        }
        if tried_at.elapsed() >= LONGEST_SLEEP {
            tried_at = Instant::now();
            touched
                .extend(replicas.values_mut().filter_map(|r| r.dispatch.retry_stalled().then_some(r.shard)));
            replicas.values_mut().for_each(Replica::evict_idle);
        }
        let now_ms = context.clock.now_ms();
        let due =
            replicas.values().filter(|r| r.deadline_ms().is_some_and(|due| due <= now_ms)).map(|r| r.shard);
        touched.extend(due);
        touched.sort_unstable();
        touched.dedup();
        let alone = touched.len() == 1;
        touched.retain(|shard| {
            replicas.get_mut(shard).is_some_and(|replica| {
                replica.flush(context, alone);
                replica.has_more()
            })
        });
        context.count(meter.read());
    }
}

/// Handles events for a while; breaks at the end.
fn round(events: &EventReceiver, mut wait: Duration, mut handle: impl FnMut(Event)) -> ControlFlow<()> {
    let (mut some, mut begun) = (Vec::new(), None);
    loop {
        let tenant = match events.receive(wait, &mut some) {
            Received::Of(tenant) => tenant,
            Received::Nothing => return ControlFlow::Continue(()),
            Received::End => return ControlFlow::Break(()),
        };
        let (started, count) = (Instant::now(), some.len());
        for event in some.drain(..) {
            if matches!(event, Event::Stop) {
                return ControlFlow::Break(());
            }
            handle(event);
        }
        let now = Instant::now();
        if let Some(tenant) = tenant {
            events.used(tenant, count, now - started);
        }
        if now - *begun.get_or_insert(started) >= ROUND {
            return ControlFlow::Continue(());
        }
        wait = Duration::ZERO;
    }
}

fn sleep(replicas: &BTreeMap<ShardId, Replica>, context: &Context) -> Duration {
    let due = replicas.values().filter_map(Replica::deadline_ms).min();
    let Some(due) = due.filter(|_| !context.clock.expiry_halted()) else { return LONGEST_SLEEP };
    Duration::from_millis(due.saturating_sub(context.clock.now_ms())).min(LONGEST_SLEEP)
}

fn handle(
    event: Event,
    replicas: &mut BTreeMap<ShardId, Replica>,
    context: &Context,
    touched: &mut Vec<ShardId>,
) {
    match event {
        Event::ForShard(shard, event) => {
            if let Some(replica) = replicas.get_mut(&shard) {
                touched.push(shard);
                handle_shard(event, replica, context);
            }
        }
        Event::Committed(entries) => {
            for entry in entries {
                let shard = ShardId(entry.group.0);
                if let Some(replica) = replicas.get_mut(&shard) {
                    replica.committed(context, &entry);
                    touched.push(shard);
                }
            }
        }
        Event::Drain => replicas.values_mut().for_each(|replica| replica.dispatch.drain()),
        Event::Pause(paused) => {
            replicas.values_mut().for_each(|replica| replica.dispatch.pause(paused));
            touched.extend(replicas.keys());
        }
        Event::Applied(reply) => {
            let applied = replicas.values().map(|r| (GroupId(r.shard.0), r.applied_index())).collect();
            // The flusher may have stopped waiting.
            drop(reply.send(applied));
        }
        // The worker ends before it handles this one.
        Event::Stop => {}
    }
}

fn handle_shard(event: ShardEvent, replica: &mut Replica, context: &Context) {
    match event {
        ShardEvent::Propose { command, reply } => replica.propose(command, reply),
        ShardEvent::Refused { proposal_id, why } => replica.refused(proposal_id, &why),
        ShardEvent::Query(query) => replica.query(context, query),
        ShardEvent::OpenSession(open) => replica.open_session(context, *open),
        ShardEvent::AddCredit { subscription, key, credit } => {
            replica.dispatch.add_credit(subscription, key, credit);
        }
        ShardEvent::StopSession { subscription, key, unsent } => {
            replica.stop_session(subscription, key, &unsent);
        }
        ShardEvent::ReturnLeases { subscription, key, unsent } => {
            replica.return_leases(subscription, key, &unsent);
        }
        ShardEvent::CloseSession { subscription, key, clean } => {
            replica.close_session(subscription, key, clean);
        }
    }
}
