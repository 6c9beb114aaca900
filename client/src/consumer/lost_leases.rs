use std::{
    collections::HashSet,
    fmt,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

/// The leases that were lost while the application holds their deliveries. Deliveries ask here, so that the many whose
/// lease is never lost cost nothing.
#[derive(Default)]
pub(super) struct LostLeases {
    count: AtomicUsize,
    tokens: Mutex<HashSet<Bytes>>,
    /// The consumer has ended: nobody cares for its leases any more.
    ended: AtomicBool,
    changed: Notify,
}

impl LostLeases {
    pub(super) fn contains(&self, token: &Bytes) -> bool {
        self.ended.load(Ordering::Acquire)
            || (self.count.load(Ordering::Acquire) > 0 && self.lock().contains(token))
    }

    /// Waits until that lease is lost.
    pub(super) async fn wait(&self, token: &Bytes) {
        let mut changed = pin!(self.changed.notified());
        loop {
            changed.as_mut().enable();
            if self.contains(token) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    pub(super) fn add(&self, tokens: impl IntoIterator<Item = Bytes>) {
        let mut lost = self.lock();
        lost.extend(tokens);
        self.count.store(lost.len(), Ordering::Release);
        drop(lost);
        self.changed.notify_waiters();
    }

    /// It was settled, or turned out to be good after all.
    pub(super) fn remove(&self, token: &Bytes) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut lost = self.lock();
            lost.remove(token);
            self.count.store(lost.len(), Ordering::Release);
        }
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Bytes>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LostLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostLeases").field("count", &self.count).finish_non_exhaustive()
    }
}
