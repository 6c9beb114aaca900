//! Worker pools: workers receive deliveries, run a handler, and settle them by its result.

mod builder;
mod handler;
mod report;
mod worker;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout_at},
};

pub use builder::WorkerPoolBuilder;
pub use handler::{Handler, HandlerError};
pub use report::PoolReport;
pub use worker::{FailedDelivery, FailureKind};

use self::{report::Counts, worker::Rules};
use crate::{
    consumer::{ConsumeError, Consumer, ConsumerBuilder},
    time,
};

/// Time limit for closing the consumers after the workers have ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of workers that consume a queue. Each receives a delivery, runs the handler in a span that continues the
/// producer's trace, and settles the delivery: `Ok` acks it, an error says how to settle it, a panic is a failed
/// attempt.
///
/// Leases are extended while a handler runs. A worker does not wait for the confirmation of a settlement before its
/// next delivery, so that confirmations are shared; unconfirmed settlements are counted and logged.
///
/// [`WorkerPool::stop`] ends the pool in order: it accepts no more deliveries, waits for running handlers, and releases
/// the rest. Dropping the pool does this in the background.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use posthouse_client::{Delivery, HandlerError};
///
/// async fn handle(delivery: Arc<Delivery>) -> Result<(), HandlerError> {
///     println!("{} bytes", delivery.payload().len());
///     Ok(())
/// }
///
/// let pool = client.worker_pool("identity-cards/applications").workers(16).start(handle).await?;
/// let report = pool.run_until(tokio::signal::ctrl_c()).await?;
/// println!("{} acked, {} to be tried again", report.acked, report.retried);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a pool stops it"]
pub struct WorkerPool {
    stop: Option<oneshot::Sender<Duration>>,
    supervisor: JoinHandle<Result<(), ConsumeError>>,
    counts: Arc<Counts>,
    stop_timeout: Duration,
}

/// The task that watches the workers and ends the pool.
#[derive(Debug)]
struct Supervisor {
    consumers: Vec<Arc<Consumer>>,
    workers: JoinSet<Result<(), ConsumeError>>,
    /// Time limit for the workers once the pool ends.
    stop_timeout: Duration,
    /// When workers that still run are aborted.
    deadline: Option<Instant>,
    failure: Option<ConsumeError>,
}

impl ConsumerBuilder {
    /// Returns the settings of a [`WorkerPool`] that consumes with these settings.
    pub fn worker_pool(self) -> WorkerPoolBuilder {
        WorkerPoolBuilder::new(self)
    }
}

impl Consumer {
    /// Handles deliveries with up to `n` calls of the handler at a time, in this task, until the consumer is stopped,
    /// closed or has ended. `Ok` acks a delivery, an error says how to settle it, and a panic is a failed attempt. If
    /// this future is dropped, unfinished deliveries are released.
    ///
    /// A [`WorkerPool`] has tasks of its own, several streams, time limits and more settings.
    ///
    /// ```no_run
    /// # async fn example(consumer: posthouse_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use posthouse_client::Delivery;
    ///
    /// let report = consumer
    ///     .for_each_concurrent(8, |delivery: Arc<Delivery>| async move {
    ///         println!("{} bytes", delivery.payload().len());
    ///         Ok(())
    ///     })
    ///     .await?;
    /// println!("{} acked", report.acked);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn for_each_concurrent(
        &self,
        n: usize,
        handler: impl Handler,
    ) -> Result<PoolReport, ConsumeError> {
        let (counts, rules) = (Counts::default(), Rules::default());
        let workers = (0..n.max(1)).map(|_| worker::work(self, &handler, &rules, &counts));
        for ended in futures_util::future::join_all(workers).await {
            ended?;
        }
        Ok(counts.report())
    }
}

impl WorkerPool {
    fn start<H: Handler>(
        consumers: Vec<Arc<Consumer>>,
        workers: usize,
        stop_timeout: Duration,
        handler: H,
        rules: Rules,
    ) -> Self {
        let (counts, shared) = (Arc::new(Counts::default()), Arc::new((handler, rules)));
        let mut tasks = JoinSet::new();
        for consumer in consumers.iter().cycle().take(workers) {
            let (consumer, counts, shared) = (Arc::clone(consumer), Arc::clone(&counts), Arc::clone(&shared));
            tasks.spawn(async move { worker::work(&consumer, &shared.0, &shared.1, &counts).await });
        }
        let supervisor =
            Supervisor { consumers, workers: tasks, stop_timeout, deadline: None, failure: None };
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervisor.run(stopped));
        Self { stop: Some(stop), supervisor, counts, stop_timeout }
    }

    /// The counts so far.
    pub fn report(&self) -> PoolReport {
        self.counts.report()
    }

    /// Accepts no more deliveries, waits for running handlers up to [`WorkerPoolBuilder::stop_timeout`], then aborts
    /// them and releases their deliveries. Returns when all settlements are confirmed. Fails if a consumer ended with
    /// an error, or they are not confirmed in 5 s.
    pub async fn stop(self) -> Result<PoolReport, ConsumeError> {
        let limit = self.stop_timeout;
        self.stop_within(limit).await
    }

    /// Stops as [`WorkerPool::stop`] does, with another time limit for the handlers.
    pub async fn stop_within(mut self, limit: Duration) -> Result<PoolReport, ConsumeError> {
        if let Some(stop) = self.stop.take() {
            // If the pool has ended already, its result is returned below.
            let _ = stop.send(limit);
        }
        self.ended().await
    }

    /// Waits until the pool ends by itself, which it does when its consumers cannot continue.
    pub async fn wait(mut self) -> Result<PoolReport, ConsumeError> {
        self.ended().await
    }

    /// Runs until `signal` resolves, to any value, and then stops; or until the pool ends by itself.
    pub async fn run_until(mut self, signal: impl Future) -> Result<PoolReport, ConsumeError> {
        tokio::select! {
            ended = self.ended() => return ended,
            _ = signal => {}
        }
        self.stop().await
    }

    async fn ended(&mut self) -> Result<PoolReport, ConsumeError> {
        // The supervisor does not panic. An error means that its runtime has ended, and there is no result.
        if let Ok(ended) = (&mut self.supervisor).await {
            ended?;
        }
        Ok(self.counts.report())
    }
}

impl Supervisor {
    async fn run(mut self, mut stopped: oneshot::Receiver<Duration>) -> Result<(), ConsumeError> {
        let mut stopping = false;
        loop {
            let deadline = self.deadline;
            tokio::select! {
                ended = self.workers.join_next() => match ended {
                    None => break,
                    Some(Ok(Err(error))) => {
                        self.failure.get_or_insert(error);
                        self.stop(self.stop_timeout);
                    }
                    Some(Ok(Ok(())) | Err(_)) => {}
                },
                limit = &mut stopped, if !stopping => {
                    stopping = true;
                    // The sender is dropped with the pool.
                    self.stop(limit.unwrap_or(self.stop_timeout));
                }
                () = time::wait_until(deadline) => {
                    tracing::warn!(unfinished = self.workers.len(), "workers were stopped before they were done");
                    self.workers.abort_all();
                    self.deadline = None;
                }
            }
        }
        self.close().await
    }

    fn stop(&mut self, limit: Duration) {
        self.deadline = Instant::now().checked_add(limit);
        for consumer in &self.consumers {
            consumer.stop();
        }
    }

    /// Closes the consumers: waits for confirmations, and releases the rest.
    async fn close(self) -> Result<(), ConsumeError> {
        let until = Instant::now() + CLOSE_TIMEOUT;
        let mut failure = self.failure;
        for consumer in &self.consumers {
            let closed = timeout_at(until, consumer.close()).await;
            let closed = closed.unwrap_or_else(|_| Err(ConsumeError::timed_out(CLOSE_TIMEOUT)));
            failure = failure.or_else(|| closed.err());
        }
        failure.map_or(Ok(()), Err)
    }
}
