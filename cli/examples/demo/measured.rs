//! Times and throughput of a queue, from the server's sums.

use std::time::{Duration, SystemTime};

use posthouse_client::QueueStats;

/// Sums of one queue, or of several.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Measured {
    first_delivered: u64,
    waited: Duration,
    acked: u64,
    worked: Duration,
    began: Option<SystemTime>,
    ended: Option<SystemTime>,
}

impl Measured {
    /// The sums of a queue that is done.
    pub fn new(stats: &QueueStats) -> Self {
        Self {
            first_delivered: stats.first_delivered,
            waited: stats.waiting_time_sum,
            acked: stats.acked,
            worked: stats.processing_time_sum,
            began: stats.first_publish_time,
            ended: stats.last_ack_time,
        }
    }

    /// Average time from publish to the first lease.
    pub fn average_waiting(&self) -> Option<Duration> {
        average(self.waited, self.first_delivered)
    }

    /// Average time from lease to ack.
    pub fn average_processing(&self) -> Option<Duration> {
        average(self.worked, self.acked)
    }

    /// Acks per second, from the first publish to the last ack.
    pub fn throughput(&self) -> Option<f64> {
        let span = self.ended?.duration_since(self.began?).ok().filter(|span| !span.is_zero())?;
        Some(self.acked as f64 / span.as_secs_f64())
    }
}

impl std::ops::AddAssign for Measured {
    fn add_assign(&mut self, other: Self) {
        self.first_delivered += other.first_delivered;
        self.waited += other.waited;
        self.acked += other.acked;
        self.worked += other.worked;
        self.began = self.began.into_iter().chain(other.began).min();
        self.ended = self.ended.into_iter().chain(other.ended).max();
    }
}

fn average(sum: Duration, count: u64) -> Option<Duration> {
    (count > 0).then(|| sum.div_f64(count as f64))
}
