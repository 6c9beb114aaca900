//! What was measured so far, by all connections.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use posthouse::bench::latency;

/// Measurements of one connection; the lock is never waited for, except at the end.
#[derive(Debug)]
pub struct ConnectionMeter(Mutex<LoadTally>);

/// Measurements.
#[derive(Debug, Clone)]
pub struct LoadTally {
    /// Of each message.
    pub latency: Histogram<u64>,
    /// Messages that went the whole way in time.
    pub messages: u64,
    /// When the first message came or was answered.
    pub first: Option<Instant>,
    /// When the last one was answered.
    pub last: Option<Instant>,
}

impl ConnectionMeter {
    /// Nothing yet.
    pub fn new() -> Result<Self> {
        Ok(Self(Mutex::new(LoadTally::new()?)))
    }

    /// It took so long for so many messages.
    pub fn record_latency(&self, since: Instant, now: Instant, messages: u64) {
        let latency = latency::micros(now.saturating_duration_since(since));
        let mut tally = self.lock();
        tally.latency.saturating_record_n(latency, messages);
        tally.first.get_or_insert(now);
    }

    /// So many messages went the whole way.
    pub fn count(&self, now: Instant, messages: u64) {
        let mut tally = self.lock();
        tally.messages += messages;
        tally.first.get_or_insert(now);
        tally.last = Some(now);
    }

    /// What was measured so far.
    pub fn tally(&self) -> LoadTally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LoadTally> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadTally {
    fn new() -> Result<Self> {
        Ok(Self { latency: latency::histogram()?, messages: 0, first: None, last: None })
    }

    /// All of these together.
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

    /// From the first message to the last.
    pub fn span(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        }
    }
}
