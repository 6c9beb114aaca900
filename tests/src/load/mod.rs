//! Producers and consumers that record everything they see.
//!
//! They use the client crate as a microservice does: when the server is killed and restarted, they reconnect by
//! themselves.

mod consumer;
mod drain;
mod producer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use posthouse_client::{Client, Context, QueueSettings};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    harness::eventually,
    history::{Event, Recorder, What},
};

/// The queue of the load.
const QUEUE: &str = "household-registry/applications";
/// The queue of its dead letters.
const DEAD_LETTERS: &str = "household-registry/hopeless";
/// The duration of leases: short, so that some expire.
const LEASE: Duration = Duration::from_secs(2);

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    producers: JoinSet<()>,
    consumers: JoinSet<()>,
    stop_producers: watch::Sender<bool>,
    stop_consumers: watch::Sender<bool>,
}

/// The state that its tasks share.
struct Shared {
    context: Context,
    recorder: Recorder,
    acked: AtomicU64,
    settled: AtomicU64,
    consumers: AtomicU32,
    seed: u64,
}

impl Load {
    /// Creates the queues, and starts producers and consumers.
    pub async fn start(context: Context, producers: u32, consumers: u32, seed: u64) -> Self {
        create_queues(&context).await;
        let shared = Arc::new(Shared {
            context,
            recorder: Recorder::default(),
            acked: AtomicU64::default(),
            settled: AtomicU64::default(),
            consumers: AtomicU32::default(),
            seed,
        });
        let mut load = Self {
            shared,
            producers: JoinSet::new(),
            consumers: JoinSet::new(),
            stop_producers: watch::Sender::new(false),
            stop_consumers: watch::Sender::new(false),
        };
        for number in 0..producers {
            let stop = load.stop_producers.subscribe();
            load.producers.spawn(producer::run(Arc::clone(&load.shared), number, stop));
        }
        for number in 0..consumers {
            let stop = load.stop_consumers.subscribe();
            load.consumers.spawn(consumer::run(Arc::clone(&load.shared), number, stop));
        }
        load
    }

    /// Waits until `more` further messages were acked and settled.
    pub async fn progress(&mut self, more: u64) {
        let (acked, settled) = self.counts();
        let what = format!("{more} more messages");
        eventually(&what, || {
            let (acked_now, settled_now) = self.counts();
            let done = acked_now >= acked + more && settled_now >= settled + more;
            async move { done.then_some(()) }
        })
        .await;
    }

    /// The numbers of confirmed publishes and settlements.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.acked.load(Ordering::Relaxed), self.shared.settled.load(Ordering::Relaxed))
    }

    /// Records that the server is about to be killed.
    pub fn killing(&self) {
        self.shared.recorder.record(What::ServerKilled);
    }

    /// Records that the server answers again.
    pub fn ready(&self) {
        self.shared.recorder.record(What::ServerReady);
    }

    /// Stops the producers, then the consumers, consumes the rest, and returns the history.
    pub async fn finish(mut self) -> Vec<Event> {
        let _ = self.stop_producers.send(true);
        join(&mut self.producers).await;
        let _ = self.stop_consumers.send(true);
        join(&mut self.consumers).await;
        // The last dead letters arise while the queue is drained.
        drain::run(&self.shared, QUEUE).await;
        drain::run(&self.shared, DEAD_LETTERS).await;
        self.shared.recorder.record(What::Drained);
        self.shared.recorder.events()
    }
}

impl Shared {
    fn record(&self, what: What) {
        match &what {
            What::PublishAcked { .. } => self.acked.fetch_add(1, Ordering::Relaxed),
            What::SettleConfirmed { .. } => self.settled.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        self.recorder.record(what);
    }

    fn backlog(&self) -> u64 {
        self.acked.load(Ordering::Relaxed).saturating_sub(self.settled.load(Ordering::Relaxed))
    }

    async fn client(&self) -> Client {
        eventually("a connection", || async { Client::connect(self.context.clone()).await.ok() }).await
    }
}

async fn create_queues(context: &Context) {
    let queues = Client::connect(context.clone()).await.unwrap().queues();
    let settings = QueueSettings::new();
    queues.create(DEAD_LETTERS, &settings).await.unwrap();
    let settings = settings.lease_duration(LEASE).max_attempts(1000).dead_letter_queue(DEAD_LETTERS);
    queues.create(QUEUE, &settings).await.unwrap();
}

async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
