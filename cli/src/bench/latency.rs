//! Recording of latencies in microseconds, for `posthouse bench` and for posthouse-bench.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// Longer latencies are recorded as an hour.
const MAX_MICROS: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// An empty histogram of latencies in microseconds, up to an hour, with three significant digits.
pub fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, MAX_MICROS, SIGNIFICANT_DIGITS)
}

/// A latency in whole microseconds.
pub fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}
