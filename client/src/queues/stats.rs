use std::time::{Duration, SystemTime};

use posthouse_proto::v1;

use crate::time;

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
        let age = |oldest| self.as_of.duration_since(oldest).unwrap_or_default();
        self.oldest.or_else(|| self.oldest_unsettled_time.map(age))
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
