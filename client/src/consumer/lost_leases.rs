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

/// The lost leases of deliveries that the application still has. Only deliveries with a lost lease are stored, so that
/// all others cost an atomic load.
#[derive(Default)]
pub(super) struct LostLeases {
    count: AtomicUsize,
    tokens: Mutex<HashSet<Bytes>>,
    /// The consumer has ended: all of its leases count as lost.
    ended: AtomicBool,
    changed: Notify,
}

impl LostLeases {
    pub(super) fn contains(&self, token: &Bytes) -> bool {
        self.ended.load(Ordering::Acquire)
            || (self.count.load(Ordering::Acquire) > 0 && self.lock().contains(token))
    }

    /// Waits until the lease is lost.
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

    /// Removes a lease that was settled, or that turned out to be valid.
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
