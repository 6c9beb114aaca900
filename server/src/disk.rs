//! Room on the disk: publishes are refused before it is full, so that consuming, which needs a little, goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::{error, info, warn};

use crate::store::Store;

/// Publishes are refused with less room than this: what leases, settlements and the store's own work need meanwhile.
pub const MIN_FREE_BYTES: u64 = 256 << 20;
/// How often the room is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Whether publishes may be taken.
#[derive(Debug, Default)]
pub(crate) struct DiskGuard {
    full: AtomicBool,
}

impl DiskGuard {
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Looks at the room until the task is dropped.
    pub(crate) async fn watch(self: Arc<Self>, store: Arc<Store>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            self.look(&store);
        }
    }

    pub(crate) fn look(&self, store: &Store) {
        let free = match store.free_bytes() {
            Ok(free) => free,
            // Not knowing is no reason to refuse: a full disk refuses by itself.
            Err(why) => return error!(%why, "the room on the disk cannot be read"),
        };
        let full = free < MIN_FREE_BYTES;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                warn!(free_bytes = free, "the disk is nearly full: publishes are refused, consuming goes on");
            } else {
                info!(free_bytes = free, "there is room on the disk again: publishes are taken");
            }
        }
    }
}
