//! What is due when: `shard | due | kind | reference`, so that the next deadline is one seek.

use bytes::Bytes;

use super::{
    Key, Kind, Requester,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, Lane, LeaseId, QueueRef, ShardId, SubscriptionRef, TenantId},
    kv::Family,
};

/// What a timer is about. It is a reminder: whoever it fires for looks at its own rows again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The earliest deadline of a lease.
    Lease(SubscriptionRef, LeaseId),
    /// A message has waited long enough.
    Retry(SubscriptionRef, Lane, u64),
    /// A producer session may be idle for too long.
    Producer(QueueRef, Bytes),
    /// Closed leases of a subscription may be forgotten.
    ClosedLeases(SubscriptionRef),
    /// Requests that were done may be forgotten.
    Requests(Requester),
}

impl Timer {
    /// Whose it is.
    #[must_use]
    pub const fn department(&self) -> DepartmentId {
        match self {
            Self::Lease(of, _) | Self::Retry(of, ..) | Self::ClosedLeases(of) => of.queue.department,
            Self::Producer(of, _) => of.department,
            Self::Requests(of) => of.department,
        }
    }
}

/// One timer: no row stands there but the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerKey {
    /// Whose.
    pub shard: ShardId,
    /// Unix milliseconds.
    pub due_ms: u64,
    /// What it is about.
    pub timer: Timer,
}

impl TimerKey {
    /// Where the timers of a shard begin that are due at or after a time.
    #[must_use]
    pub fn from(shard: ShardId, due_ms: u64) -> Vec<u8> {
        Writer::shard(shard.0).u64(due_ms).done()
    }

    /// Where the timers of a shard end that are due at or before a time.
    #[must_use]
    pub fn until(shard: ShardId, due_ms: u64) -> Vec<u8> {
        super::after(&Self::from(shard, due_ms))
    }

    /// Where the timers of a shard end.
    #[must_use]
    pub fn end(shard: ShardId) -> Vec<u8> {
        super::after(&shard.0.to_be_bytes())
    }

    const fn kind(&self) -> Kind {
        match self.timer {
            Timer::Lease(..) => Kind::LeaseTimer,
            Timer::Retry(..) => Kind::RetryTimer,
            Timer::Producer(..) => Kind::ProducerTimer,
            Timer::ClosedLeases(..) => Kind::ClosedLeasesTimer,
            Timer::Requests(..) => Kind::RequestsTimer,
        }
    }
}

impl Key for TimerKey {
    const FAMILY: Family = Family::Timer;
    // The first of five.
    const KIND: Kind = Kind::LeaseTimer;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        let queue = |key: Writer, queue: QueueRef| key.u32(queue.department.0).u32(queue.queue.0);
        let subscription = |key, of: SubscriptionRef| queue(key, of.queue).u32(of.subscription.0);
        let key = Writer::shard(self.shard.0).u64(self.due_ms).u8(self.kind() as u8);
        match &self.timer {
            Timer::Lease(of, lease) => subscription(key, *of).u64(lease.0),
            Timer::Retry(of, lane, sequence) => subscription(key, *of).u8(lane.0).u64(*sequence),
            Timer::Producer(of, producer) => queue(key, *of).bytes(producer),
            Timer::ClosedLeases(of) => subscription(key, *of),
            Timer::Requests(Requester { department, tenant, subject: who }) => {
                key.u32(department.0).u32(tenant.0).bytes(who.as_bytes())
            }
        }
        .done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let (shard, due_ms, kind) = (ShardId(key.u16()?), key.u64()?, key.u8()?);
        let timer = if kind == Kind::LeaseTimer as u8 {
            let timer = Timer::Lease(key.subscription_ref()?, LeaseId(key.u64()?));
            key.end()?;
            timer
        } else if kind == Kind::RetryTimer as u8 {
            let timer = Timer::Retry(key.subscription_ref()?, Lane(key.u8()?), key.u64()?);
            key.end()?;
            timer
        } else if kind == Kind::ProducerTimer as u8 {
            Timer::Producer(key.queue_ref()?, Bytes::copy_from_slice(key.rest()))
        } else if kind == Kind::ClosedLeasesTimer as u8 {
            let timer = Timer::ClosedLeases(key.subscription_ref()?);
            key.end()?;
            timer
        } else if kind == Kind::RequestsTimer as u8 {
            let (department, tenant) = (DepartmentId(key.u32()?), TenantId(key.u32()?));
            Timer::Requests(Requester { department, tenant, subject: key.text()? })
        } else {
            return None;
        };
        Some(Self { shard, due_ms, timer })
    }
}
