//! One level of an account: a connection, a tenant, or the server.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Level {
    used: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Level {
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        // A waiter that misses this notification checks again by itself.
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }

    /// Returns when bytes were released after this call.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + '_ {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let notified = self.freed.notified();
        async move {
            notified.await;
            drop(waiting);
        }
    }
}
