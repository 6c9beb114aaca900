//! Definitions of queues.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use posthouse_proto::v1::{self, queues_client::QueuesClient};
use prost_types::FieldMask;

use crate::{
    error::Error,
    name,
    request::{Requests, request_id},
    time,
};

/// Creates, reads, changes and deletes queues. Names are `DEPARTMENT/QUEUE` or full resource names.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), posthouse_client::Error> {
/// use posthouse_client::QueueSettings;
///
/// let queues = client.queues();
/// queues.create("identity-cards/failed", &QueueSettings::new()).await?;
/// let settings = QueueSettings::new().max_attempts(5).dead_letter_queue("identity-cards/failed");
/// let queue = queues.create("identity-cards/applications", &settings).await?;
/// println!("{} has {} attempts", queue.name, queue.max_attempts);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queues {
    requests: Arc<Requests>,
}

/// What to set; the rest keeps its default, or its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSettings {
    max_message_bytes: Option<u32>,
    lease_duration: Option<Duration>,
    max_attempts: Option<u32>,
    dead_letter_queue: Option<String>,
    etag: String,
}

/// A queue, as the server defines it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Queue {
    /// The full resource name.
    pub name: String,
    /// Never reused: a queue created again under an old name has another.
    pub uid: String,
    /// Changes with every change of the definition.
    pub etag: String,
    /// When it was created.
    pub create_time: SystemTime,
    /// When its definition was last changed.
    pub update_time: SystemTime,
    /// The largest payload it takes.
    pub max_message_bytes: u32,
    /// How long a lease lasts unless the consumer says otherwise.
    pub lease_duration: Option<Duration>,
    /// A message that failed this often is a dead letter.
    pub max_attempts: u32,
    /// Where dead letters go; `None`: they are parked where they are.
    pub dead_letter_queue: Option<String>,
    /// Counts, if they were asked for.
    pub stats: Option<QueueStats>,
}

/// Counts of a queue at one moment, and sums since it was created: the difference of two answers is a rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// May be delivered now.
    pub ready: u64,
    /// Leased.
    pub in_flight: u64,
    /// Waiting for a retry.
    pub waiting: u64,
    /// Dead letters with nowhere to go.
    pub parked: u64,
    /// The sequence of the newest message.
    pub last_sequence: u64,
    /// When the oldest message that is not settled was published.
    pub oldest_unsettled_time: Option<SystemTime>,
    /// Bytes of all messages kept; settled ones count until they are trimmed.
    pub stored_bytes: u64,
    /// Messages published.
    pub published: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Messages acked.
    pub acked: u64,
    /// Deliveries that ended in a nack.
    pub nacked: u64,
    /// Deliveries whose lease ran out.
    pub expired: u64,
    /// Deliveries that were given back.
    pub released: u64,
    /// Messages that became dead letters, moved or parked.
    pub dead_lettered: u64,
    /// Messages purged before they were settled.
    pub purged: u64,
    /// Messages delivered at least once.
    pub first_delivered: u64,
    /// How long these waited for their first delivery, all together.
    pub waiting_time_sum: Duration,
    /// How long acked messages had been leased, all together.
    pub processing_time_sum: Duration,
    /// When a message was first published, and last.
    pub first_publish_time: Option<SystemTime>,
    /// See [`QueueStats::first_publish_time`].
    pub last_publish_time: Option<SystemTime>,
    /// When a message was last acked.
    pub last_ack_time: Option<SystemTime>,
    /// The server's wall clock at the answer.
    pub as_of: SystemTime,
    /// How old the oldest message is that is not settled; see [`QueueStats::oldest_age`].
    oldest: Option<Duration>,
    /// A clock of the server that is never set.
    steady: Option<Duration>,
}

impl QueueStats {
    /// How long messages wait for their first delivery, on average; `None` while there was none.
    pub fn average_waiting_time(&self) -> Option<Duration> {
        average(self.waiting_time_sum, self.first_delivered)
    }

    /// How long messages are worked on before they are acked, on average; `None` while there was none.
    pub fn average_processing_time(&self) -> Option<Duration> {
        average(self.processing_time_sum, self.acked)
    }

    /// How old the oldest message is that is not settled; `None` when there is none. It is right also when the server's wall clock
    /// was wrong when the message was published.
    pub fn oldest_age(&self) -> Option<Duration> {
        let told = |oldest| self.as_of.duration_since(oldest).unwrap_or_default();
        self.oldest.or_else(|| self.oldest_unsettled_time.map(told))
    }

    /// Messages published, and acked, per second since an earlier answer about the same queue; `None` when no time has
    /// passed between them.
    pub fn rates_since(&self, earlier: &Self) -> Option<(f64, f64)> {
        let passed = match (self.steady, earlier.steady) {
            (Some(now), Some(then)) => now.checked_sub(then)?,
            _ => self.as_of.duration_since(earlier.as_of).ok()?,
        };
        let seconds = passed.as_secs_f64();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (seconds > 0.0).then(|| (rate(self.published, earlier.published), rate(self.acked, earlier.acked)))
    }
}

fn average(sum: Duration, count: u64) -> Option<Duration> {
    let nanos = sum.as_nanos().checked_div(u128::from(count))?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

impl Queues {
    pub(crate) fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }

    /// Creates a queue.
    pub async fn create(&self, name: &str, settings: &QueueSettings) -> Result<Queue, Error> {
        let request = v1::CreateQueueRequest {
            queue: Some(self.wire(name, settings)?),
            request_id: request_id(),
            validate_only: false,
        };
        let queue = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).create_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// A queue, with its counts.
    pub async fn get(&self, name: &str) -> Result<Queue, Error> {
        let request = v1::GetQueueRequest { name: self.name(name)? };
        let queue = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).get_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// All queues of a department that the caller has a grant for, by name. The department is `DEPARTMENT` or a full
    /// resource name.
    pub async fn list(&self, department: &str) -> Result<Vec<Queue>, Error> {
        let parent = name::department(department, self.requests.context().tenant())?;
        let mut request = v1::ListQueuesRequest { parent, page_size: 1000, page_token: String::new() };
        let mut queues = Vec::new();
        loop {
            let page = self.requests.call(|channel, token| {
                let request = token.request(request.clone());
                async move { QueuesClient::new(channel).list_queues(request).await }
            });
            let page = page.await?;
            queues.extend(page.queues.into_iter().map(Queue::from));
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            if page.next_page_token == request.page_token {
                return Err(Error::Protocol("a list of queues does not end"));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes what the settings name, and nothing else.
    pub async fn update(&self, name: &str, settings: &QueueSettings) -> Result<Queue, Error> {
        let request = v1::UpdateQueueRequest {
            queue: Some(self.wire(name, settings)?),
            update_mask: Some(FieldMask { paths: settings.paths() }),
            request_id: request_id(),
            validate_only: false,
        };
        let queue = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).update_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// Deletes a queue and all its messages, for good.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteQueueRequest {
            name: self.name(name)?,
            etag: String::new(),
            request_id: request_id(),
            validate_only: false,
        };
        let deleted = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).delete_queue(request).await }
        });
        deleted.await.map(|_| ())
    }

    /// Removes every message that was published before, leased ones too, and tells how many were not settled.
    pub async fn purge(&self, name: &str) -> Result<u64, Error> {
        let request =
            v1::PurgeQueueRequest { name: self.name(name)?, request_id: request_id(), validate_only: false };
        let purged = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).purge_queue(request).await }
        });
        Ok(purged.await?.purged)
    }

    fn name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.requests.context().tenant())?)
    }

    fn wire(&self, name: &str, settings: &QueueSettings) -> Result<v1::Queue, Error> {
        let target = settings.dead_letter_queue.as_deref().filter(|target| !target.is_empty());
        let target = target.map(|target| self.name(target)).transpose()?;
        Ok(v1::Queue {
            name: self.name(name)?,
            etag: settings.etag.clone(),
            max_message_bytes: settings.max_message_bytes.unwrap_or(0),
            default_subscription: Some(v1::SubscriptionSettings {
                lease_duration: settings.lease_duration.map(time::wire),
                max_attempts: settings.max_attempts.unwrap_or(0),
                dead_letter_queue: target.unwrap_or_default(),
            }),
            ..v1::Queue::default()
        })
    }
}

impl QueueSettings {
    /// Sets nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest payload; 1 MiB if not set.
    pub fn max_message_bytes(mut self, bytes: u32) -> Self {
        self.max_message_bytes = Some(bytes);
        self
    }

    /// How long a lease lasts unless the consumer says otherwise: 1 s to 12 h; 30 s if not set.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// How often a message may fail before it is a dead letter: 1 to 1,000; 16 if not set.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Where dead letters go: a queue of the same department; empty: they are parked where they are.
    pub fn dead_letter_queue(mut self, queue: impl Into<String>) -> Self {
        self.dead_letter_queue = Some(queue.into());
        self
    }

    /// For an update: only if this is still the queue's etag.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    fn paths(&self) -> Vec<String> {
        [
            (self.max_message_bytes.is_some(), "max_message_bytes"),
            (self.lease_duration.is_some(), "default_subscription.lease_duration"),
            (self.max_attempts.is_some(), "default_subscription.max_attempts"),
            (self.dead_letter_queue.is_some(), "default_subscription.dead_letter_queue"),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, path)| path.to_owned())
        .collect()
    }
}

impl From<v1::Queue> for Queue {
    fn from(queue: v1::Queue) -> Self {
        let settings = queue.default_subscription.unwrap_or_default();
        Self {
            name: queue.name,
            uid: queue.uid,
            etag: queue.etag,
            create_time: time::moment(queue.create_time),
            update_time: time::moment(queue.update_time),
            max_message_bytes: queue.max_message_bytes,
            lease_duration: time::duration(settings.lease_duration),
            max_attempts: settings.max_attempts,
            dead_letter_queue: Some(settings.dead_letter_queue).filter(|target| !target.is_empty()),
            stats: queue.stats.map(QueueStats::from),
        }
    }
}

impl From<v1::QueueStats> for QueueStats {
    fn from(stats: v1::QueueStats) -> Self {
        let moment = |timestamp: Option<_>| timestamp.map(|timestamp| time::moment(Some(timestamp)));
        Self {
            ready: stats.ready,
            in_flight: stats.in_flight,
            waiting: stats.waiting,
            parked: stats.parked,
            last_sequence: stats.last_sequence,
            oldest_unsettled_time: moment(stats.oldest_unsettled_time),
            stored_bytes: stats.stored_bytes,
            published: stats.published,
            delivered: stats.delivered,
            acked: stats.acked,
            nacked: stats.nacked,
            expired: stats.expired,
            released: stats.released,
            dead_lettered: stats.dead_lettered,
            purged: stats.purged,
            first_delivered: stats.first_delivered,
            waiting_time_sum: time::duration(stats.waiting_time_sum).unwrap_or_default(),
            processing_time_sum: time::duration(stats.processing_time_sum).unwrap_or_default(),
            first_publish_time: moment(stats.first_publish_time),
            last_publish_time: moment(stats.last_publish_time),
            last_ack_time: moment(stats.last_ack_time),
            as_of: time::moment(stats.as_of),
            oldest: time::duration(stats.oldest_unsettled_age),
            steady: time::duration(stats.steady_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, QueueStats, v1};

    #[test]
    fn averages_are_sums_over_counts() {
        let none = QueueStats::from(v1::QueueStats::default());
        assert_eq!((none.average_waiting_time(), none.average_processing_time()), (None, None));
        assert_eq!((none.oldest_age(), none.rates_since(&none)), (None, None));
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let stats = QueueStats::from(v1::QueueStats {
            first_delivered: 4,
            waiting_time_sum: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            published: 30,
            acked: 10,
            processing_time_sum: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            oldest_unsettled_time: at(90),
            as_of: at(100),
            ..v1::QueueStats::default()
        });
        assert_eq!(stats.average_waiting_time(), Some(Duration::from_millis(250)));
        assert_eq!(stats.average_processing_time(), Some(Duration::from_millis(500)));
        assert_eq!(stats.oldest_age(), Some(Duration::from_secs(10)));
        let earlier = QueueStats {
            published: 10,
            acked: 0,
            ..QueueStats::from(v1::QueueStats { as_of: at(90), ..v1::QueueStats::default() })
        };
        assert_eq!(stats.rates_since(&earlier), Some((2.0, 1.0)));
    }
}
