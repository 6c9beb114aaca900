//! Conversion between the times of the wire and of the program, and waiting.

use std::{
    future,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep_until};

/// Converts a time of the server; the epoch if this program cannot represent it.
pub(crate) fn system_time(timestamp: prost_types::Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Converts a time that the server always sends; the epoch if it is missing.
pub(crate) fn or_epoch(timestamp: Option<prost_types::Timestamp>) -> SystemTime {
    timestamp.map_or(SystemTime::UNIX_EPOCH, system_time)
}

/// Converts a duration for the server. One that the wire cannot represent becomes the longest that it can, which the
/// server refuses.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

pub(crate) fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(duration).ok())
}

/// The time left of a lease when its delivery arrives; `None` from older servers.
pub(crate) fn lease_time_left(delivery: &posthouse_proto::v1::Delivery) -> Option<Duration> {
    let left = delivery.lease_time_left?;
    // The server sends it normalized, so this skips the conversion that normalizes.
    Some(Duration::new(u64::try_from(left.seconds).ok()?, u32::try_from(left.nanos).ok()?))
}

/// Waits until this time, or for ever if there is none.
pub(crate) async fn wait_until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => future::pending().await,
    }
}
