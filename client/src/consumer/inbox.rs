use std::{
    collections::{HashSet, VecDeque},
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use posthouse_proto::v1;
use tokio::{sync::Notify, time::Instant};

use super::{ConsumeError, ledger::Lease};

/// Deliveries that wait for the application. The credits bound their number.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<InboxEntry>,
    /// Set when nothing more is received, with the reason.
    end: Option<Result<(), ConsumeError>>,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are deliveries")]
pub(super) enum InboxEntry {
    Delivery {
        delivery: v1::Delivery,
        /// The slot of its lease in the ledger.
        slot: u32,
        /// When the lease ends, by the last frame that said so.
        lease_end: Instant,
        /// When the lease ends if the extensions that were sent since are granted. After this time the delivery stays
        /// in the inbox; it is extended or removed once there is a connection.
        expected_end: Instant,
    },
    Idle {
        waiting: u64,
        parked: u64,
    },
}

impl InboxEntry {
    fn is_valid_at(&self, now: Instant) -> bool {
        match self {
            Self::Delivery { expected_end, .. } => now < *expected_end,
            Self::Idle { .. } => true,
        }
    }

    fn lease(&self) -> Option<Lease> {
        match self {
            Self::Delivery { delivery, slot, .. } => {
                Some(Lease { token: delivery.token.clone(), slot: *slot })
            }
            Self::Idle { .. } => None,
        }
    }
}

impl Inbox {
    /// Waits for the oldest entry; `None` at the end.
    pub(super) async fn next(&self) -> Result<Option<InboxEntry>, ConsumeError> {
        loop {
            {
                let mut state = self.lock();
                if let Some(entry) = state.waiting.pop_front_if(|entry| entry.is_valid_at(Instant::now())) {
                    if !state.waiting.is_empty() {
                        // A push wakes one waiter, which wakes the next.
                        self.ready.notify_one();
                    }
                    return Ok(Some(entry));
                }
                if let Some(end) = &state.end {
                    let end = end.clone();
                    self.ready.notify_one();
                    return end.map(|()| None);
                }
            }
            self.ready.notified().await;
        }
    }

    /// Adds deliveries, each with its slot in the ledger and the end of its lease.
    pub(super) fn push(&self, deliveries: impl Iterator<Item = (v1::Delivery, u32, Instant)>) {
        let mut deliveries = deliveries.peekable();
        if deliveries.peek().is_none() {
            return;
        }
        let mut state = self.lock();
        // New deliveries make the report of an idle subscription stale.
        state.waiting.pop_back_if(|last| matches!(last, InboxEntry::Idle { .. }));
        let entry = |(delivery, slot, lease_end)| InboxEntry::Delivery {
            delivery,
            slot,
            lease_end,
            expected_end: lease_end,
        };
        state.waiting.extend(deliveries.map(entry));
        drop(state);
        self.ready.notify_one();
    }

    /// Waits for a delivery, and returns up to `max` of those that are here, oldest first; at least one, but none at
    /// the end.
    pub(super) async fn next_deliveries<T>(
        &self,
        max: usize,
        make: impl Fn(v1::Delivery, u32, Instant) -> T,
    ) -> Result<Vec<T>, ConsumeError> {
        let mut deliveries = Vec::new();
        while deliveries.is_empty() {
            match self.next().await? {
                Some(InboxEntry::Delivery { delivery, slot, lease_end, .. }) => {
                    deliveries.push(make(delivery, slot, lease_end))
                }
                Some(InboxEntry::Idle { .. }) => {}
                None => return Ok(deliveries),
            }
        }
        let mut state = self.lock();
        let now = Instant::now();
        deliveries.reserve(max.saturating_sub(1).min(state.waiting.len()));
        while deliveries.len() < max
            && let Some(entry) = state.waiting.pop_front_if(|entry| entry.is_valid_at(now))
        {
            if let InboxEntry::Delivery { delivery, slot, lease_end, .. } = entry {
                deliveries.push(make(delivery, slot, lease_end));
            }
        }
        Ok(deliveries)
    }

    pub(super) fn push_idle(&self, waiting: u64, parked: u64) {
        self.lock().waiting.push_back(InboxEntry::Idle { waiting, parked });
        self.ready.notify_one();
    }

    /// Removes reports that the subscription is idle; each stream reports anew.
    pub(super) fn drop_idle(&self) {
        self.lock().waiting.retain(|entry| !matches!(entry, InboxEntry::Idle { .. }));
    }

    /// Returns the leases that end in less than `within`, and treats them as extended by `extension` from now.
    pub(super) fn collect_ending(&self, within: Duration, extension: Duration) -> Vec<Lease> {
        let now = Instant::now();
        let mut ending = Vec::new();
        for entry in &mut self.lock().waiting {
            if let InboxEntry::Delivery { delivery, slot, expected_end, .. } = entry
                && expected_end.saturating_duration_since(now) < within
            {
                *expected_end = now + extension;
                ending.push(Lease { token: delivery.token.clone(), slot: *slot });
            }
        }
        self.ready.notify_one();
        ending
    }

    /// Removes deliveries with a lost lease, and returns the leases of those that were here.
    pub(super) fn remove(&self, lost: &HashSet<Lease>) -> Vec<Lease> {
        let mut removed = Vec::new();
        self.lock().waiting.retain(|entry| {
            let lease = entry.lease().filter(|lease| lost.contains(lease));
            let stays = lease.is_none();
            removed.extend(lease);
            stays
        });
        self.ready.notify_one();
        removed
    }

    /// Ends the inbox and discards what is in it.
    pub(super) fn end(&self, end: Result<(), ConsumeError>) {
        let mut state = self.lock();
        state.waiting.clear();
        state.end.get_or_insert(end);
        drop(state);
        self.ready.notify_one();
    }

    /// Ends the inbox and returns the leases of the deliveries in it.
    pub(super) fn stop(&self) -> Vec<Lease> {
        let mut state = self.lock();
        let waiting = mem::take(&mut state.waiting);
        state.end.get_or_insert(Ok(()));
        drop(state);
        self.ready.notify_one();
        waiting.iter().filter_map(InboxEntry::lease).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No holder of the lock panics; even then the queue would be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}
