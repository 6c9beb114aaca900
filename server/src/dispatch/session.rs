//! A session: one consumer's stream as dispatch sees it, and the handle its handler keeps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use posthouse_engine::{ids::SubscriptionRef, outcome::LiveDelivery, schema::Holder};
use tokio::sync::mpsc;

use crate::shard::{Origin, ShardEvent, Shards};

/// One stream; a session that is resumed has a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey(pub(crate) u64);

/// What a stream may still be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credit {
    pub(crate) messages: u32,
    pub(crate) bytes: u64,
}

/// A stream that opens.
pub(crate) struct SessionOpen {
    pub(crate) key: SessionKey,
    pub(crate) subscription: SubscriptionRef,
    pub(crate) holder: Holder,
    pub(crate) lease_duration_ms: u64,
    pub(crate) credit: Credit,
    /// Bounded by the stream's credits.
    pub(crate) events: mpsc::UnboundedSender<SessionEvent>,
}

/// A delivery on its way to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) live: LiveDelivery,
    /// The byte credit it took; 0 on a stream that does not count bytes.
    pub(crate) size: u32,
}

/// Events of a stream.
#[derive(Debug, Clone)]
pub(crate) enum SessionEvent {
    /// First of all: what the session still holds.
    Resumed(Vec<Leased>),
    /// New leases, synced and applied.
    Granted(Vec<Leased>),
    /// Nothing is ready or in flight.
    Idle { waiting: u64, parked: u64 },
    /// A newer stream of the same session is open.
    TakenOver,
    /// The queue is deleted.
    QueueDeleted,
    /// The department is closed.
    DepartmentClosed,
    /// The department is set aside.
    DepartmentSetAside,
    /// The shard is halted.
    Halted,
    /// No more leases follow.
    Drain,
}

/// A session in dispatch.
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) holder: Holder,
    pub(crate) lease_duration_ms: u64,
    messages: i64,
    bytes: Option<Bytes>,
    /// The count of the idle period of which it was last notified.
    idle_notified: u64,
    /// Its stream is at its end: nothing more is leased to it.
    stopped: bool,
    events: mpsc::UnboundedSender<SessionEvent>,
}

/// A byte balance, and the highest it has been: a message that is larger than that is sent when the balance is
/// complete.
#[derive(Clone, Copy)]
struct Bytes {
    balance: i64,
    whole: i64,
}

impl Session {
    pub(crate) fn new(open: SessionOpen) -> Self {
        let SessionOpen { key, holder, lease_duration_ms, credit, events, .. } = open;
        let mut session = Self {
            key,
            holder,
            lease_duration_ms,
            messages: 0,
            bytes: None,
            idle_notified: 0,
            stopped: false,
            events,
        };
        session.add(credit);
        session
    }

    pub(crate) fn add(&mut self, credit: Credit) {
        self.messages = self.messages.saturating_add(i64::from(credit.messages));
        if credit.bytes > 0 {
            let bytes = self.bytes.get_or_insert(Bytes { balance: 0, whole: 0 });
            bytes.balance = bytes.balance.saturating_add(i64::try_from(credit.bytes).unwrap_or(i64::MAX));
            bytes.whole = bytes.whole.max(bytes.balance);
        }
    }

    /// How many messages may be sent now, as far as their number goes.
    pub(crate) fn messages(&self) -> usize {
        let open = !self.stopped && self.bytes.is_none_or(|bytes| bytes.balance > 0);
        if open { usize::try_from(self.messages).unwrap_or(0) } else { 0 }
    }

    pub(crate) fn counts_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    /// The largest message that the credit's bytes suffice for.
    pub(crate) fn reach(&self) -> u32 {
        match self.bytes {
            Some(bytes) if bytes.balance < bytes.whole => {
                u32::try_from(bytes.balance.max(0)).unwrap_or(u32::MAX)
            }
            _ => u32::MAX,
        }
    }

    /// Takes the credit for one message, if there is enough.
    pub(crate) fn spend(&mut self, size: u32) -> bool {
        if self.stopped || self.messages <= 0 {
            return false;
        }
        if let Some(bytes) = &mut self.bytes {
            let size = i64::from(size);
            let fits = size <= bytes.balance || (size > bytes.whole && bytes.balance >= bytes.whole);
            if !fits {
                return false;
            }
            bytes.balance -= size;
        }
        self.messages -= 1;
        true
    }

    /// Takes the credit for deliveries that are sent in any case.
    pub(crate) fn charge(&mut self, deliveries: &[Leased]) {
        self.messages = self.messages.saturating_sub(i64::try_from(deliveries.len()).unwrap_or(i64::MAX));
        if let Some(bytes) = &mut self.bytes {
            let sum = deliveries.iter().map(|leased| i64::from(leased.size)).sum();
            bytes.balance = bytes.balance.saturating_sub(sum);
        }
    }

    /// Gives back the credit of a message that was not granted.
    pub(crate) fn refund(&mut self, size: u32) {
        self.messages = self.messages.saturating_add(1);
        if let Some(bytes) = &mut self.bytes {
            bytes.balance = bytes.balance.saturating_add(i64::from(size));
            // The session may have got more credit since these bytes were charged.
            bytes.whole = bytes.whole.max(bytes.balance);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Notifies the stream; whether it is still there.
    pub(crate) fn notify(&self, event: SessionEvent) -> bool {
        self.events.send(event).is_ok()
    }

    /// Notifies the stream that nothing is ready, once in each idle period `time`.
    pub(crate) fn notify_idle(&mut self, time: u64, waiting: u64, parked: u64) {
        // A stream without credit may not read, and its notifications would pile up.
        if self.idle_notified != time && self.messages() > 0 {
            self.idle_notified = time;
            self.notify(SessionEvent::Idle { waiting, parked });
        }
    }
}

/// A handler's side of a session. When it and every [`Unsent`] of it are dropped, the session ends as a broken stream
/// does: leases stay.
pub(crate) struct SessionHandle(Arc<Link>);

/// Leases of deliveries that have not left the server. Dropped before they have, nothing more is leased to the session,
/// and they go back to the subscription: they were not tried, so that does not count.
pub(crate) struct Unsent {
    link: Arc<Link>,
    leases: Vec<LiveDelivery>,
}

/// The way from a handler to its session.
struct Link {
    shards: Shards,
    at: Origin,
    subscription: SubscriptionRef,
    key: SessionKey,
    /// Whether all leases are released at the end.
    clean: AtomicBool,
}

impl SessionHandle {
    pub(crate) fn new(shards: Shards, at: Origin, subscription: SubscriptionRef, key: SessionKey) -> Self {
        Self(Arc::new(Link { shards, at, subscription, key, clean: AtomicBool::new(false) }))
    }

    pub(crate) fn add_credit(&self, credit: Credit) {
        let Link { shards, at, subscription, key, .. } = &*self.0;
        shards.send(*at, ShardEvent::AddCredit { subscription: *subscription, key: *key, credit });
    }

    /// The session's, and about to be sent.
    pub(crate) fn unsent(&self, leases: Vec<LiveDelivery>) -> Unsent {
        Unsent { link: Arc::clone(&self.0), leases }
    }

    /// Leases nothing more to the session, and returns these deliveries, which have not left the server. Those that
    /// have left stay leased.
    pub(crate) fn stop(&self, unsent: Vec<LiveDelivery>) {
        self.0.stop(unsent);
    }

    /// Gives these back, which have not left the server and will not on this stream, unless a newer stream has the
    /// session: then they are that stream's.
    pub(crate) fn return_leases(&self, unsent: Vec<LiveDelivery>) {
        let Link { shards, at, subscription, key, .. } = &*self.0;
        shards.send(*at, ShardEvent::ReturnLeases { subscription: *subscription, key: *key, unsent });
    }

    /// Ends the session and releases its leases.
    pub(crate) fn close_clean(self) {
        self.0.clean.store(true, Ordering::Release);
    }

    /// From now on its leases are released when it is dropped: no other stream can resume them.
    pub(crate) fn release_when_dropped(&self) {
        self.0.clean.store(true, Ordering::Release);
    }

    /// Ends the session as a broken stream does.
    pub(crate) fn close_keeping_leases(self) {
        self.0.clean.store(false, Ordering::Release);
    }
}

impl Unsent {
    /// The first has begun to leave.
    pub(crate) fn first_sent(&mut self) {
        self.leases.drain(..self.leases.len().min(1));
    }

    /// They have left.
    pub(crate) fn sent(mut self) {
        self.leases.clear();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.link.stop(std::mem::take(&mut self.leases));
        }
    }
}

impl Link {
    fn stop(&self, unsent: Vec<LiveDelivery>) {
        let event = ShardEvent::StopSession { subscription: self.subscription, key: self.key, unsent };
        self.shards.send(self.at, event);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let clean = *self.clean.get_mut();
        let event = ShardEvent::CloseSession { subscription: self.subscription, key: self.key, clean };
        self.shards.send(self.at, event);
    }
}
