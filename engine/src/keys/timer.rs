//! Keys of timers: by the time they are due, so that the next deadline is one seek.

use bytes::Bytes;

use super::{
    Key, Kind, Requester,
    parts::{Part, Reader, Writer},
};
use crate::{
    ids::{DepartmentId, Lane, LeaseId, QueueRef, ShardId, SubscriptionRef},
    kv::Family,
};

/// What a timer is about. It is a reminder: the code that it fires for reads its own rows again.
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
    /// The department of what it is about.
    #[must_use]
    pub const fn department(&self) -> DepartmentId {
        match self {
            Self::Lease(of, _) | Self::Retry(of, ..) | Self::ClosedLeases(of) => of.queue.department,
            Self::Producer(of, _) => of.department,
            Self::Requests(of) => of.department,
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Lease(..) => Kind::LeaseTimer,
            Self::Retry(..) => Kind::RetryTimer,
            Self::Producer(..) => Kind::ProducerTimer,
            Self::ClosedLeases(..) => Kind::ClosedLeasesTimer,
            Self::Requests(..) => Kind::RequestsTimer,
        }
    }
}

/// One timer. The key has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerKey {
    /// The shard.
    pub shard: ShardId,
    /// When it is due, Unix milliseconds.
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

    /// The prefix of all timers of a shard.
    #[must_use]
    pub fn all_of(shard: ShardId) -> Vec<u8> {
        Writer::shard(shard.0).done()
    }

    /// Where the timers of a shard end.
    #[must_use]
    pub fn end(shard: ShardId) -> Vec<u8> {
        super::after(&Self::all_of(shard))
    }
}

impl Key for TimerKey {
    const FAMILY: Family = Family::Timer;
    // The first of five.
    const KIND: Kind = Kind::LeaseTimer;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        let key = Writer::shard(self.shard.0).u64(self.due_ms).u8(self.timer.kind() as u8);
        match &self.timer {
            Timer::Lease(of, lease) => key.part(of).part(lease),
            Timer::Retry(of, lane, sequence) => key.part(of).part(lane).part(sequence),
            Timer::Producer(of, producer) => key.part(of).part(producer),
            Timer::ClosedLeases(of) => key.part(of),
            Timer::Requests(of) => key.part(&of.department).part(&of.tenant).part(&of.subject),
        }
        .done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        const LEASE: u8 = Kind::LeaseTimer as u8;
        const RETRY: u8 = Kind::RetryTimer as u8;
        const PRODUCER: u8 = Kind::ProducerTimer as u8;
        const CLOSED_LEASES: u8 = Kind::ClosedLeasesTimer as u8;
        const REQUESTS: u8 = Kind::RequestsTimer as u8;
        let mut key = Reader(key);
        let (shard, due_ms) = (ShardId(key.u16()?), key.u64()?);
        let timer = match key.u8()? {
            LEASE => Timer::Lease(key.part()?, key.part()?),
            RETRY => Timer::Retry(key.part()?, key.part()?, key.part()?),
            PRODUCER => Timer::Producer(key.part()?, key.part()?),
            CLOSED_LEASES => Timer::ClosedLeases(key.part()?),
            REQUESTS => {
                let (department, tenant) = (key.part()?, key.part()?);
                Timer::Requests(Requester { department, tenant, subject: key.part()? })
            }
            _ => return None,
        };
        key.end()?;
        Some(Self { shard, due_ms, timer })
    }
}

/// Behind the department of a parked timer.
impl Part for TimerKey {
    fn write(&self, key: Writer) -> Writer {
        key.bytes(&self.encode())
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        Self::decode(key.rest())
    }
}
