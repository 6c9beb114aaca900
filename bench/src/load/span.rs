//! The stretch of a load that is measured.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Load;
use crate::measure::usage::{Usage, Watch};

/// Watches a server from the end of the warm-up until the load's length has passed or it stops, and then stops it: what was
/// used, and how long that was.
pub fn watch(load: &Load, pids: Vec<u32>, stop: CancellationToken) -> JoinHandle<(Usage, Duration)> {
    let (warm_up, length) = (load.warm_up, load.length);
    tokio::spawn(async move {
        tokio::time::sleep(warm_up).await;
        let (begun, watch) = (Instant::now(), Watch::begin(pids));
        // Either end is one.
        let _ = tokio::time::timeout(length, stop.cancelled()).await;
        stop.cancel();
        (watch.end(), begun.elapsed())
    })
}
