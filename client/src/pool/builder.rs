use std::{sync::Arc, time::Duration};

use super::{
    Handler, WorkerPool,
    worker::{FailedDelivery, Rules},
};
use crate::{consumer::ConsumerBuilder, error::Error};

const MAX_WORKERS: usize = 10_000;
const MAX_STREAMS: usize = 64;

/// Settings of a [`WorkerPool`]. A value beyond a limit is replaced by the limit.
#[derive(Clone, Debug)]
#[must_use = "call `start`"]
pub struct WorkerPoolBuilder {
    consumer: ConsumerBuilder,
    workers: usize,
    streams: usize,
    stop_timeout: Duration,
    rules: Rules,
}

impl WorkerPoolBuilder {
    pub(crate) fn new(consumer: ConsumerBuilder) -> Self {
        let stop_timeout = Duration::from_secs(30);
        Self { consumer, workers: 8, streams: 1, stop_timeout, rules: Rules::default() }
    }

    /// The number of workers, and so of deliveries that are handled at a time: 1 to 10,000; 8 if not set.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.clamp(1, MAX_WORKERS);
        self
    }

    /// The number of streams, each over its own connection: 1 to 64, and at most the number of workers; 1 if not set.
    /// One stream carries more than most handlers can process; more streams help where the network is the limit.
    pub fn streams(mut self, streams: usize) -> Self {
        self.streams = streams.clamp(1, MAX_STREAMS);
        self
    }

    /// How long [`WorkerPool::stop`] waits for running handlers; 30 s if not set.
    pub fn stop_timeout(mut self, limit: Duration) -> Self {
        self.stop_timeout = limit;
        self
    }

    /// How long a failed message waits for its next attempt, unless the handler sets the delay. It grows from `first`,
    /// doubled with every attempt, up to `longest`, and a random part of up to a half is subtracted; 1 s and 5 minutes
    /// if not set.
    pub fn retry_delay(mut self, first: Duration, longest: Duration) -> Self {
        self.rules.first_delay = first;
        self.rules.longest_delay = longest.max(first);
        self
    }

    /// Time limit for one call of the handler; none if not set. After it the handler's future is dropped, which counts
    /// as a failed attempt.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.rules.handler_timeout = Some(limit);
        self
    }

    /// Whether the handler's future is dropped when its lease is lost, because another consumer may have the message
    /// then. Off if not set; the handler may wait for [`Delivery::lease_lost`](crate::Delivery::lease_lost) itself.
    pub fn cancel_on_lease_lost(mut self, enable: bool) -> Self {
        self.rules.cancel_on_lease_lost = enable;
        self
    }

    /// Former name of [`WorkerPoolBuilder::cancel_on_lease_lost`].
    #[deprecated(since = "0.1.0", note = "renamed to `cancel_on_lease_lost`")]
    pub fn leave_lost(self, enable: bool) -> Self {
        self.cancel_on_lease_lost(enable)
    }

    /// Calls `callback` for every delivery that was not handled, before it is settled. The worker waits for the
    /// callback, so it must not block.
    pub fn on_failure(mut self, callback: impl Fn(&FailedDelivery<'_>) + Send + Sync + 'static) -> Self {
        self.rules.on_failure = Some(Arc::new(callback));
        self
    }

    /// Opens the streams and starts the workers. Each stream gets twice as many credits as it has workers, so that slow
    /// workers do not keep messages from other consumers; [`ConsumerBuilder::credit_messages`] overrides this for each
    /// stream. There is one attempt: any failure is returned at once.
    pub async fn start(self, handler: impl Handler) -> Result<WorkerPool, Error> {
        let streams = self.streams.min(self.workers);
        let credits = u32::try_from(self.workers.div_ceil(streams) * 2).unwrap_or(u32::MAX);
        let builder = self.consumer.credit_messages_unless_set(credits);
        let mut consumers = Vec::with_capacity(streams);
        for _ in 0..streams {
            consumers.push(Arc::new(builder.clone().open().await?));
        }
        Ok(WorkerPool::start(consumers, self.workers, self.stop_timeout, handler, self.rules))
    }
}
