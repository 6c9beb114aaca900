//! The measured time of a load.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Load;
use crate::measure::usage::{Usage, Watch};

/// Measures a server's usage from the end of the warm-up until the load's length has passed or `stop` is cancelled, and
/// then cancels it. Returns the usage and the length.
pub fn watch(load: &Load, pids: Vec<u32>, stop: CancellationToken) -> JoinHandle<(Usage, Duration)> {
    let (warm_up, length) = (load.warm_up, load.length);
    tokio::spawn(async move {
        tokio::time::sleep(warm_up).await;
        let (begun, watch) = (Instant::now(), Watch::begin(pids));
        // A timeout and a cancellation are both the end.
        let _ = tokio::time::timeout(length, stop.cancelled()).await;
        stop.cancel();
        (watch.end(), begun.elapsed())
    })
}
