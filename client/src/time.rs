//! Between the wire's time and the program's.

use std::{
    future,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep_until};

/// A time of the server; the epoch if this program cannot represent it.
pub(crate) fn system_time(timestamp: prost_types::Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time that the server always sends; the epoch if it did not.
pub(crate) fn or_epoch(timestamp: Option<prost_types::Timestamp>) -> SystemTime {
    timestamp.map_or(SystemTime::UNIX_EPOCH, system_time)
}

/// A duration for the server; one that the wire cannot tell is sent as the longest it can, for the server to refuse.
pub(crate) fn wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

pub(crate) fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(duration).ok())
}

/// How much is left of a delivery's lease, as of its coming; `None`: the server is older than such words.
pub(crate) fn left(delivery: &posthouse_proto::v1::Delivery) -> Option<Duration> {
    let left = delivery.lease_time_left?;
    // As it always comes: nothing to make even first.
    Some(Duration::new(u64::try_from(left.seconds).ok()?, u32::try_from(left.nanos).ok()?))
}

/// Waits until then; `None`: for ever.
pub(crate) async fn wait_until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => future::pending().await,
    }
}
