//! Counts and latencies of a load, per connection.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use posthouse::bench::latency;

/// The measurements of one connection. Nobody waits for the lock before the load ends.
#[derive(Debug)]
pub struct ConnectionMeter(Mutex<LoadTally>);

/// Counts and latencies of one connection, or of all.
#[derive(Debug, Clone)]
pub struct LoadTally {
    /// The latency of each message, in microseconds.
    pub latency: Histogram<u64>,
    /// Messages that were confirmed in the measured time.
    pub messages: u64,
    /// When the first message was received or confirmed.
    pub first: Option<Instant>,
    /// When the last message was confirmed.
    pub last: Option<Instant>,
}

impl ConnectionMeter {
    /// A meter without measurements.
    pub fn new() -> Result<Self> {
        Ok(Self(Mutex::new(LoadTally::new()?)))
    }

    /// Records the latency of `messages` messages, from `since` to `now`.
    pub fn record_latency(&self, since: Instant, now: Instant, messages: u64) {
        let latency = latency::micros(now.saturating_duration_since(since));
        let mut tally = self.lock();
        tally.latency.saturating_record_n(latency, messages);
        tally.first.get_or_insert(now);
    }

    /// Counts messages that were confirmed.
    pub fn count(&self, now: Instant, messages: u64) {
        let mut tally = self.lock();
        tally.messages += messages;
        tally.first.get_or_insert(now);
        tally.last = Some(now);
    }

    /// The measurements so far.
    pub fn tally(&self) -> LoadTally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LoadTally> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadTally {
    fn new() -> Result<Self> {
        Ok(Self { latency: latency::histogram()?, messages: 0, first: None, last: None })
    }

    /// The sum over all connections.
    pub fn sum<'a>(meters: impl IntoIterator<Item = &'a ConnectionMeter>) -> Result<Self> {
        let mut sum = Self::new()?;
        for meter in meters {
            let one = meter.tally();
            sum.latency.add(&one.latency)?;
            sum.messages += one.messages;
            sum.first = [sum.first, one.first].into_iter().flatten().min();
            sum.last = sum.last.max(one.last);
        }
        Ok(sum)
    }

    /// Time from the first message to the last.
    pub fn span(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        }
    }
}
