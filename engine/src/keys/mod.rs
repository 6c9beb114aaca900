//! Where a row stands: kinds with explicit numbers, one file per kind.
//!
//! Rows of a department begin `department u32 | queue u32 | kind u8`, big-endian, so that a shard is a set of key ranges
//! and a queue is one range in every family; queue 0 is the department itself. Timer and meta rows begin with the shard.

mod ack_chunk;
mod aside;
mod body;
mod catalogue_department;
mod catalogue_state;
mod closed_lease;
mod dead_letter_use;
mod department;
mod entry;
mod head;
mod lease;
mod parked_timer;
mod parts;
mod producer;
mod producer_use;
mod progress;
mod publisher;
mod queue;
mod queue_name;
mod request;
mod request_order;
mod requester;
mod retry;
mod set_aside;
mod shard;
mod subscription;
mod tenant;
mod timer;

pub use ack_chunk::AckChunkKey;
pub use aside::AsideKey;
pub use body::BodyKey;
pub use catalogue_department::CatalogueDepartmentKey;
pub use catalogue_state::CatalogueStateKey;
pub use closed_lease::ClosedLeaseKey;
pub use dead_letter_use::DeadLetterUseKey;
pub use department::DepartmentKey;
pub use entry::EntryKey;
pub use head::HeadKey;
pub use lease::LeaseKey;
pub use parked_timer::ParkedTimerKey;
pub use producer::ProducerKey;
pub use producer_use::ProducerUseKey;
pub use progress::ProgressKey;
pub use publisher::{Publisher, PublisherKey};
pub use queue::QueueKey;
pub use queue_name::QueueNameKey;
pub use request::RequestKey;
pub use request_order::RequestOrderKey;
pub use requester::{Requester, RequesterKey};
pub use retry::RetryKey;
pub use set_aside::SetAsideKey;
pub use shard::ShardKey;
pub use subscription::SubscriptionKey;
pub use tenant::TenantKey;
pub use timer::{Timer, TimerKey};

use crate::{
    ids::{DepartmentId, Lane, QueueRef, SubscriptionRef},
    kv::Family,
};

/// The table of kinds. A number is persisted: it keeps its meaning for ever, and a retired one stays in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A department: [`DepartmentKey`].
    Department = 1,
    /// A queue's name: [`QueueNameKey`].
    QueueName = 2,
    /// Who names whom as dead-letter queue: [`DeadLetterUseKey`].
    DeadLetterUse = 3,
    /// A queue's definition: [`QueueKey`].
    Queue = 4,
    /// A queue's head: [`HeadKey`].
    Head = 5,
    /// A subscription: [`SubscriptionKey`].
    Subscription = 6,
    /// Ack state: [`AckChunkKey`].
    AckChunk = 7,
    /// A lease: [`LeaseKey`].
    Lease = 8,
    /// A lease's progress: [`ProgressKey`].
    Progress = 9,
    /// Closed leases by time: [`ClosedLeaseKey`].
    ClosedLease = 10,
    /// A message that has failed: [`RetryKey`].
    Retry = 11,
    /// A producer session: [`ProducerKey`].
    Producer = 12,
    /// A message: [`BodyKey`].
    Body = 13,
    /// A message copied aside: [`AsideKey`].
    Aside = 14,
    /// A publish: [`EntryKey`].
    Entry = 15,
    /// A timer that ends deliveries of a lease: [`Timer::Lease`].
    LeaseTimer = 16,
    /// A timer that ends a message's waiting: [`Timer::Retry`].
    RetryTimer = 17,
    /// A timer that forgets a producer session: [`Timer::Producer`].
    ProducerTimer = 18,
    /// A timer that forgets closed leases: [`Timer::ClosedLeases`].
    ClosedLeasesTimer = 19,
    /// A shard: [`ShardKey`].
    Shard = 20,
    /// The catalogue: [`CatalogueStateKey`].
    CatalogueState = 21,
    /// A tenant: [`TenantKey`].
    Tenant = 22,
    /// A department as the catalogue knows it: [`CatalogueDepartmentKey`].
    CatalogueDepartment = 23,
    // 24 to 40 are reserved for what queues are to learn next.
    /// A request that was done: [`RequestKey`].
    Request = 41,
    /// Requests in the order they are forgotten: [`RequestOrderKey`].
    RequestOrder = 42,
    /// Whose requests are remembered: [`RequesterKey`].
    Requester = 43,
    /// A timer that forgets requests: [`Timer::Requests`].
    RequestsTimer = 44,
    /// Why a department is set aside: [`SetAsideKey`].
    SetAside = 45,
    /// A timer that waits until its department is opened again: [`ParkedTimerKey`].
    ParkedTimer = 46,
    /// Producer sessions in the order of their use: [`ProducerUseKey`].
    ProducerUse = 47,
    /// Whose producer sessions a queue has: [`PublisherKey`].
    Publisher = 48,
}

/// What stands in a shard's place in the keys of the catalogue.
pub const CATALOGUE: u16 = u16::MAX;

/// One kind of key, and the row that stands there.
pub trait Key: Sized {
    /// In which family.
    const FAMILY: Family;
    /// Its number.
    const KIND: Kind;
    /// What stands there.
    type Row: prost::Message + Default;

    /// The key's bytes.
    fn encode(&self) -> Vec<u8>;

    /// The key of these bytes, if they are of this kind and whole.
    fn decode(key: &[u8]) -> Option<Self>;
}

/// The key of a message's body.
#[must_use]
pub fn body(queue: QueueRef, lane: Lane, sequence: u64) -> Vec<u8> {
    BodyKey { queue, lane, sequence }.encode()
}

/// The key of a message's copy, where it stands once the floor of its subscription has passed it: where there is no
/// body, look here.
#[must_use]
pub fn aside(subscription: SubscriptionRef, lane: Lane, sequence: u64) -> Vec<u8> {
    AsideKey { subscription, lane, sequence }.encode()
}

/// Every row of a queue begins so, in every family but timer and meta.
#[must_use]
pub fn queue_prefix(queue: QueueRef) -> Vec<u8> {
    let mut key = Vec::with_capacity(8);
    key.extend_from_slice(&queue.department.0.to_be_bytes());
    key.extend_from_slice(&queue.queue.0.to_be_bytes());
    key
}

/// Every row of a department begins so, in every family but timer and meta.
#[must_use]
pub fn department_prefix(department: DepartmentId) -> Vec<u8> {
    department.0.to_be_bytes().to_vec()
}

/// The rows of one kind of a queue begin so.
#[must_use]
pub fn kind_prefix(queue: QueueRef, kind: Kind) -> Vec<u8> {
    parts::Writer::queue(queue, kind).done()
}

/// The rows of one kind of a subscription begin so.
#[must_use]
pub fn subscription_prefix(subscription: SubscriptionRef, kind: Kind) -> Vec<u8> {
    parts::Writer::subscription(subscription, kind).done()
}

/// The kind in a department's key.
#[must_use]
pub fn kind_of(key: &[u8]) -> Option<u8> {
    key.get(8).copied()
}

/// The last key of the same length before this one; none before all zeros.
#[must_use]
pub fn before(key: &[u8]) -> Option<Vec<u8>> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        match byte.checked_sub(1) {
            Some(less) => {
                *byte = less;
                return Some(before);
            }
            None => *byte = u8::MAX,
        }
    }
    None
}

/// The first key after all that begin with `prefix`.
#[must_use]
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing is after a prefix of 0xff alone but longer keys of 0xff; no key of ours is that long.
    vec![u8::MAX; 64]
}

#[cfg(test)]
mod tests;
