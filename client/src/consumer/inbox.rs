use std::{
    collections::{HashSet, VecDeque},
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use posthouse_proto::v1;
use tokio::{sync::Notify, time::Instant};

use super::{ConsumeError, ledger::Lease};

/// What waits for the application. The credits bound it.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<InboxEntry>,
    /// Nothing more comes, and why.
    end: Option<Result<(), ConsumeError>>,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are deliveries")]
pub(super) enum InboxEntry {
    Delivery {
        delivery: v1::Delivery,
        /// Where the ledger has it.
        slot: u32,
        /// When its lease ends, as it was told.
        lease_end: Instant,
        /// The same with the extensions that were asked for since. Then it is not given out; it is extended or withdrawn when
        /// there is a connection again.
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
    /// The oldest entry; `None`: nothing more comes.
    pub(super) async fn next(&self) -> Result<Option<InboxEntry>, ConsumeError> {
        loop {
            {
                let mut state = self.lock();
                if let Some(entry) = state.waiting.pop_front_if(|entry| entry.is_valid_at(Instant::now())) {
                    if !state.waiting.is_empty() {
                        // One push wakes one waiter, which wakes the next.
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

    /// Deliveries, where the ledger has them, and when their leases end.
    pub(super) fn push(&self, deliveries: impl Iterator<Item = (v1::Delivery, u32, Instant)>) {
        let mut deliveries = deliveries.peekable();
        if deliveries.peek().is_none() {
            return;
        }
        let mut state = self.lock();
        // It is no longer so.
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

    /// Up to so many deliveries that are here, oldest first; at least one, but none when nothing more comes.
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

    /// A new stream tells anew whether it is idle.
    pub(super) fn drop_idle(&self) {
        self.lock().waiting.retain(|entry| !matches!(entry, InboxEntry::Idle { .. }));
    }

    /// The deliveries whose lease ends within a time; they count as extended by so much now.
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

    /// Removes deliveries whose lease is lost, and returns those that were still here.
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

    /// Nothing more comes, and what waits is not given out.
    pub(super) fn end(&self, end: Result<(), ConsumeError>) {
        let mut state = self.lock();
        state.waiting.clear();
        state.end.get_or_insert(end);
        drop(state);
        self.ready.notify_one();
    }

    /// Nothing more comes; returns what is not given out for that reason.
    pub(super) fn stop(&self) -> Vec<Lease> {
        let mut state = self.lock();
        let waiting = mem::take(&mut state.waiting);
        state.end.get_or_insert(Ok(()));
        drop(state);
        self.ready.notify_one();
        waiting.iter().filter_map(InboxEntry::lease).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the queue would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}
