//! Counts and latencies of a phase, per stream.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::latency::{self, micros};
use crate::{exit::Exit, failure::Failure};

/// A step of a message that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The message is on disk.
    Stored,
    /// The message was delivered.
    Delivered,
    /// The settlement of the message is on disk.
    Settled,
}

/// The measurements of one stream. Nobody waits for the lock before the phase ends.
#[derive(Debug)]
pub struct StreamMeter(Mutex<StepTally>);

/// Counts and latencies of one stream, or of all.
#[derive(Debug, Clone)]
pub struct StepTally {
    /// Latencies of messages that were stored.
    pub stored: Histogram<u64>,
    /// Latencies of messages that were delivered.
    pub delivered: Histogram<u64>,
    /// Latencies of messages that were settled.
    pub settled: Histogram<u64>,
    /// Bytes of the delivered payloads.
    pub delivered_bytes: u64,
    /// Messages that were not stored or not settled.
    pub errors: u64,
    /// The first of these errors.
    pub first_error: Option<String>,
    /// When the last message took a step.
    pub last: Option<Instant>,
}

impl StreamMeter {
    /// A meter without measurements.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(Mutex::new(StepTally::new()?)))
    }

    /// Records that a message took a step, and the time since `from`.
    pub fn record(&self, step: Step, from: Instant) {
        let now = Instant::now();
        let latency = micros(now.saturating_duration_since(from));
        let mut tally = self.lock();
        let histogram = match step {
            Step::Stored => &mut tally.stored,
            Step::Delivered => &mut tally.delivered,
            Step::Settled => &mut tally.settled,
        };
        histogram.saturating_record(latency);
        tally.last = Some(now);
    }

    /// Adds a delivered payload.
    pub fn add_delivered_bytes(&self, bytes: usize) {
        self.lock().delivered_bytes += bytes as u64;
    }

    /// Records that a message was not stored or not settled.
    pub fn error(&self, error: &dyn std::error::Error) {
        let mut tally = self.lock();
        tally.errors += 1;
        tally.first_error.get_or_insert_with(|| error.to_string());
    }

    /// The measurements so far.
    pub fn tally(&self) -> StepTally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, StepTally> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StepTally {
    /// A tally without measurements.
    pub fn new() -> Result<Self, Failure> {
        let histogram = || {
            latency::histogram()
                .map_err(|error| Failure::advised(Exit::Unavailable, format!("no histogram: {error}")))
        };
        Ok(Self {
            stored: histogram()?,
            delivered: histogram()?,
            settled: histogram()?,
            delivered_bytes: 0,
            errors: 0,
            first_error: None,
            last: None,
        })
    }

    /// The sum over all streams.
    pub fn sum<'a>(meters: impl IntoIterator<Item = &'a StreamMeter>) -> Result<Self, Failure> {
        let mut sum = Self::new()?;
        for meter in meters {
            let one = meter.tally();
            for (all, own) in [
                (&mut sum.stored, &one.stored),
                (&mut sum.delivered, &one.delivered),
                (&mut sum.settled, &one.settled),
            ] {
                all.add(own).map_err(|error| Failure::advised(Exit::Unavailable, error))?;
            }
            sum.delivered_bytes += one.delivered_bytes;
            sum.errors += one.errors;
            sum.first_error = sum.first_error.or(one.first_error);
            sum.last = sum.last.max(one.last);
        }
        Ok(sum)
    }

    /// Time from `start` to the last step.
    pub fn duration(&self, start: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.saturating_duration_since(start))
    }
}
