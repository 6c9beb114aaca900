use std::time::{Duration, SystemTime};

use posthouse_proto::v1;

use crate::time;

/// Counts of a queue at one moment, and sums since its creation. The difference of two answers is a rate; see
/// [`QueueStats::rates_since`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages that are ready for delivery.
    pub ready: u64,
    /// Messages that are leased.
    pub in_flight: u64,
    /// Messages that wait for a retry.
    pub waiting: u64,
    /// Dead letters that stay in this queue, because there is no dead-letter queue.
    pub parked: u64,
    /// The sequence of the newest message.
    pub last_sequence: u64,
    /// When the oldest unsettled message was published.
    pub oldest_unsettled_time: Option<SystemTime>,
    /// Bytes of all stored messages. Settled ones count until they are trimmed.
    pub stored_bytes: u64,
    /// Messages published.
    pub published: u64,
    /// Deliveries to consumers.
    pub delivered: u64,
    /// Messages acked.
    pub acked: u64,
    /// Deliveries that ended in a nack.
    pub nacked: u64,
    /// Deliveries whose lease ran out.
    pub expired: u64,
    /// Deliveries that were released.
    pub released: u64,
    /// Messages that became dead letters, moved or parked.
    pub dead_lettered: u64,
    /// Messages purged before they were settled.
    pub purged: u64,
    /// Messages delivered at least once.
    pub first_delivered: u64,
    /// Sum of the times that delivered messages waited for their first delivery.
    pub waiting_time_sum: Duration,
    /// Sum of the times for which acked messages were leased.
    pub processing_time_sum: Duration,
    /// When the first message was published.
    pub first_publish_time: Option<SystemTime>,
    /// When the newest message was published.
    pub last_publish_time: Option<SystemTime>,
    /// When a message was last acked.
    pub last_ack_time: Option<SystemTime>,
    /// The server's wall clock at the time of the answer.
    pub as_of: SystemTime,
    /// The age of the oldest unsettled message; `None` from older servers.
    oldest_age: Option<Duration>,
    /// The server's monotonic clock at the time of the answer; `None` from older servers.
    monotonic: Option<Duration>,
}

impl QueueStats {
    /// The average time that messages wait for their first delivery; `None` before the first delivery.
    pub fn average_waiting_time(&self) -> Option<Duration> {
        average(self.waiting_time_sum, self.first_delivered)
    }

    /// The average time for which messages are leased until they are acked; `None` before the first ack.
    pub fn average_processing_time(&self) -> Option<Duration> {
        average(self.processing_time_sum, self.acked)
    }

    /// The age of the oldest unsettled message; `None` if there is none. It is right even if the server's wall clock
    /// was wrong at the time of publishing.
    pub fn oldest_age(&self) -> Option<Duration> {
        let age = |oldest| self.as_of.duration_since(oldest).unwrap_or_default();
        self.oldest_age.or_else(|| self.oldest_unsettled_time.map(age))
    }

    /// Messages published and acked per second since an earlier answer about the same queue; `None` if no time has
    /// passed.
    pub fn rates_since(&self, earlier: &Self) -> Option<(f64, f64)> {
        let passed = match (self.monotonic, earlier.monotonic) {
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

impl From<v1::QueueStats> for QueueStats {
    fn from(stats: v1::QueueStats) -> Self {
        Self {
            ready: stats.ready,
            in_flight: stats.in_flight,
            waiting: stats.waiting,
            parked: stats.parked,
            last_sequence: stats.last_sequence,
            oldest_unsettled_time: stats.oldest_unsettled_time.map(time::system_time),
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
            first_publish_time: stats.first_publish_time.map(time::system_time),
            last_publish_time: stats.last_publish_time.map(time::system_time),
            last_ack_time: stats.last_ack_time.map(time::system_time),
            as_of: time::or_epoch(stats.as_of),
            oldest_age: time::duration(stats.oldest_unsettled_age),
            monotonic: time::duration(stats.steady_time),
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
