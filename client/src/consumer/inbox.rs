use std::{
    collections::{HashSet, VecDeque},
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use posthouse_proto::v1;
use tokio::{sync::Notify, time::Instant};

use super::ConsumeError;

/// What waits for the application. The credits bound it.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// How long leases last. A delivery whose lease has ended is not given out; it is extended or withdrawn when
    /// there is a connection again.
    lease: Duration,
    /// Nothing more comes, and why.
    end: Option<Result<(), ConsumeError>>,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are deliveries")]
pub(super) enum Entry {
    Delivery {
        delivery: v1::Delivery,
        /// When its lease was granted or last extended, as far as we know.
        leased: Instant,
    },
    Idle {
        waiting: u64,
        parked: u64,
    },
}

impl Entry {
    fn is_valid(&self, lease: Duration) -> bool {
        match self {
            Self::Delivery { leased, .. } => leased.elapsed() < lease,
            Self::Idle { .. } => true,
        }
    }
}

impl Inbox {
    pub(super) fn set_lease(&self, lease: Duration) {
        self.lock().lease = lease;
    }

    /// The oldest entry; `None`: nothing more comes.
    pub(super) async fn next(&self) -> Result<Option<Entry>, ConsumeError> {
        loop {
            {
                let mut state = self.lock();
                let lease = state.lease;
                if let Some(entry) = state.waiting.pop_front_if(|entry| entry.is_valid(lease)) {
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

    pub(super) fn push(&self, deliveries: Vec<v1::Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let leased = Instant::now();
        let mut state = self.lock();
        // It is no longer so.
        state.waiting.pop_back_if(|last| matches!(last, Entry::Idle { .. }));
        state.waiting.extend(deliveries.into_iter().map(|delivery| Entry::Delivery { delivery, leased }));
        drop(state);
        self.ready.notify_one();
    }

    pub(super) fn push_idle(&self, waiting: u64, parked: u64) {
        self.lock().waiting.push_back(Entry::Idle { waiting, parked });
        self.ready.notify_one();
    }

    /// A new stream tells anew whether it is idle.
    pub(super) fn forget_idle(&self) {
        self.lock().waiting.retain(|entry| !matches!(entry, Entry::Idle { .. }));
    }

    /// The tokens of deliveries whose lease is older than `age`; they count as extended now.
    pub(super) fn take_older_than(&self, age: Duration) -> Vec<Bytes> {
        let now = Instant::now();
        let mut tokens = Vec::new();
        for entry in &mut self.lock().waiting {
            if let Entry::Delivery { delivery, leased } = entry
                && now.duration_since(*leased) > age
            {
                *leased = now;
                tokens.push(delivery.token.clone());
            }
        }
        self.ready.notify_one();
        tokens
    }

    /// Removes deliveries whose lease is lost, and returns those that were still here.
    pub(super) fn remove(&self, lost: &HashSet<Bytes>) -> Vec<Bytes> {
        let mut removed = Vec::new();
        self.lock().waiting.retain(|entry| match entry {
            Entry::Delivery { delivery, .. } if lost.contains(&delivery.token) => {
                removed.push(delivery.token.clone());
                false
            }
            _ => true,
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

    /// Nothing more comes; returns the tokens of what is not given out for that reason.
    pub(super) fn stop(&self) -> Vec<Bytes> {
        let mut state = self.lock();
        let waiting = mem::take(&mut state.waiting);
        state.end.get_or_insert(Ok(()));
        drop(state);
        self.ready.notify_one();
        let token = |entry| match entry {
            Entry::Delivery { delivery, .. } => Some(delivery.token),
            Entry::Idle { .. } => None,
        };
        waiting.into_iter().filter_map(token).collect()
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
