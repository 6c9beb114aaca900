//! The counts of a queue at one moment, and what two of them tell.

use std::time::{Duration, SystemTime};

use posthouse_client::QueueStats;
use serde_json::{Value, json};

use crate::time::rfc3339;

/// Counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
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
    /// What an older server does not tell.
    pub sums: Option<Sums>,
}

/// Sums since the queue was created, and what is told with them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sums {
    /// The server's clock.
    pub as_of: SystemTime,
    /// When the oldest unsettled message was published.
    pub oldest_unsettled: Option<SystemTime>,
    /// Bytes of all bodies kept.
    pub stored_bytes: u64,
    /// Messages published.
    pub published: u64,
    /// Leases granted on messages.
    pub delivered: u64,
    /// Messages acked.
    pub acked: u64,
    /// Deliveries that ended in a nack.
    pub nacked: u64,
    /// Deliveries whose lease ran out.
    pub expired: u64,
    /// Deliveries that were given back.
    pub released: u64,
    /// Messages that became dead letters.
    pub dead_lettered: u64,
    /// Messages purged before they were settled.
    pub purged: u64,
    /// First deliveries.
    pub first_delivered: u64,
    /// From publish to first delivery, of all of those.
    pub waiting_time: Duration,
    /// From lease to ack, of all acked.
    pub processing_time: Duration,
    /// The last publish.
    pub last_publish: Option<SystemTime>,
    /// The last ack.
    pub last_ack: Option<SystemTime>,
    /// The first publish.
    pub first_publish: Option<SystemTime>,
}

/// Messages per second, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Between which moments.
    pub over: Duration,
    /// In.
    pub published: f64,
    /// Out.
    pub acked: f64,
}

impl Sample {
    /// What the server told.
    pub fn of(stats: &QueueStats) -> Self {
        Self {
            ready: stats.ready,
            in_flight: stats.in_flight,
            waiting: stats.waiting,
            parked: stats.parked,
            last_sequence: stats.last_sequence,
            sums: None,
        }
    }

    /// All of it; null is what nobody knows.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "ready": self.ready,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "parked": self.parked,
            "last_sequence": self.last_sequence,
        });
        let Some(sums) = &self.sums else { return object };
        let moment = |moment: Option<SystemTime>| moment.map(rfc3339);
        let told = json!({
            "oldest_unsettled_time": moment(sums.oldest_unsettled),
            "oldest_unsettled_seconds": sums.oldest_age().map(|age| age.as_secs_f64()),
            "stored_bytes": sums.stored_bytes,
            "published": sums.published,
            "delivered": sums.delivered,
            "acked": sums.acked,
            "nacked": sums.nacked,
            "expired": sums.expired,
            "released": sums.released,
            "dead_lettered": sums.dead_lettered,
            "purged": sums.purged,
            "average_waiting_seconds": sums.average_waiting().map(|time| time.as_secs_f64()),
            "average_processing_seconds": sums.average_processing().map(|time| time.as_secs_f64()),
            "first_publish_time": moment(sums.first_publish),
            "last_publish_time": moment(sums.last_publish),
            "last_ack_time": moment(sums.last_ack),
            "as_of": rfc3339(sums.as_of),
        });
        if let (Value::Object(object), Value::Object(told)) = (&mut object, told) {
            object.extend(told);
        }
        object
    }
}

impl Sums {
    /// How long the oldest unsettled message has been there.
    pub fn oldest_age(&self) -> Option<Duration> {
        self.oldest_unsettled.map(|oldest| self.as_of.duration_since(oldest).unwrap_or_default())
    }

    /// From publish to first delivery, on average.
    pub fn average_waiting(&self) -> Option<Duration> {
        average(self.waiting_time, self.first_delivered)
    }

    /// From lease to ack, on average.
    pub fn average_processing(&self) -> Option<Duration> {
        average(self.processing_time, self.acked)
    }
}

fn average(sum: Duration, count: u64) -> Option<Duration> {
    #[allow(clippy::cast_precision_loss, reason = "an average of more than 2^52 is none the worse for it")]
    let average = sum.as_secs_f64() / count as f64;
    (count > 0).then(|| Duration::try_from_secs_f64(average).unwrap_or_default())
}

impl Rates {
    /// What happened between two samples; nothing if no time passed, or the queue was made anew.
    pub fn between(before: &Sample, now: &Sample) -> Option<Self> {
        let (before, now) = (before.sums.as_ref()?, now.sums.as_ref()?);
        let over = now.as_of.duration_since(before.as_of).ok().filter(|over| !over.is_zero())?;
        #[allow(clippy::cast_precision_loss, reason = "nobody counts so far in one interval")]
        let rate = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 / over.as_secs_f64());
        Some(Self {
            over,
            published: rate(before.published, now.published)?,
            acked: rate(before.acked, now.acked)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A queue that has seen something, at a second.
    pub(in super::super) fn sample(second: u64, published: u64, acked: u64) -> Sample {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let sums = Sums {
            as_of: at(second),
            oldest_unsettled: Some(at(second - 65)),
            stored_bytes: 3 << 20,
            published,
            delivered: published,
            acked,
            nacked: 1,
            expired: 2,
            released: 3,
            dead_lettered: 4,
            purged: 5,
            first_delivered: published,
            waiting_time: Duration::from_millis(12 * published),
            processing_time: Duration::from_micros(1500 * acked),
            last_publish: Some(at(second)),
            last_ack: None,
            first_publish: Some(at(100)),
        };
        Sample { ready: 7, in_flight: 1, waiting: 0, parked: 0, last_sequence: published, sums: Some(sums) }
    }

    #[test]
    fn two_samples_tell_rates() {
        let rates = Rates::between(&sample(1000, 10_000, 9_000), &sample(1002, 12_500, 9_001)).unwrap();
        assert_eq!((rates.over, rates.published, rates.acked), (Duration::from_secs(2), 1250.0, 0.5));
        assert_eq!(Rates::between(&sample(1000, 5, 5), &sample(1000, 6, 6)), None);
        assert_eq!(Rates::between(&sample(1000, 5, 5), &sample(1001, 0, 0)), None);
    }

    #[test]
    fn averages_need_something_to_average() {
        let json = sample(1000, 100, 0).json();
        assert_eq!(json["average_waiting_seconds"], 0.012);
        assert_eq!(json["average_processing_seconds"], Value::Null);
        assert_eq!(json["oldest_unsettled_seconds"], 65.0);
        assert_eq!(json["last_ack_time"], Value::Null);
    }
}
