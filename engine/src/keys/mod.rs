//! The key of every row: kinds with explicit numbers, and what follows them.
//!
//! Numbers are big-endian, so that keys are in the order of their numbers. The rows of a department begin with it,
//! and those of a queue with both: a shard is a set of key ranges, and a queue is one range in every family. The rows
//! of a department itself have queue 0, which no queue has. Rows of the families timer and meta begin with the shard,
//! or with 0xffff for the catalogue.
//!
//! Of the pieces below `shard` and `length` are u16, `kind` and `lane` are u8, ids and `0` are u32, and all other
//! numbers are u64; times are Unix milliseconds. `length` is that of the text behind it; text and bytes at the end
//! have none.
//!
//! ```text
//! kind                    family  key
//!  1  Department          state   department | 0 | kind
//!  2  QueueName           state   department | 0 | kind | name
//!  3  DeadLetterUse       state   department | 0 | kind | length | name of the dead-letter queue | queue
//!  4  Queue               state   department | queue | kind
//!  5  Head                state   department | queue | kind
//!  6  Subscription        state   department | queue | kind | subscription
//!  7  AckChunk            state   department | queue | kind | subscription | lane | sequence / 4,096
//!  8  Lease               state   department | queue | kind | subscription | lease
//!  9  Progress            state   department | queue | kind | subscription | lease
//! 10  ClosedLease         state   department | queue | kind | subscription | closed at | lease
//! 11  Retry               state   department | queue | kind | subscription | lane | sequence
//! 12  Producer            state   department | queue | kind | producer id
//! 13  Body                body    department | queue | kind | lane | sequence
//! 14  RelocatedBody       body    department | queue | kind | subscription | lane | sequence
//! 15  Entry               entry   department | queue | kind | first sequence
//! 16  LeaseTimer          timer   shard | due at | kind | department | queue | subscription | lease
//! 17  RetryTimer          timer   shard | due at | kind | department | queue | subscription | lane | sequence
//! 18  ProducerTimer       timer   shard | due at | kind | department | queue | producer id
//! 19  ClosedLeasesTimer   timer   shard | due at | kind | department | queue | subscription
//! 20  Shard               meta    shard | kind
//! 21  CatalogueState      meta    0xffff | kind
//! 22  Tenant              meta    0xffff | kind | name
//! 23  CatalogueDepartment meta    0xffff | kind | tenant | name
//! 41  Request             state   department | 0 | kind | tenant | length | subject | request id
//! 42  RequestOrder        state   department | 0 | kind | tenant | length | subject | number
//! 43  Requester           state   department | 0 | kind | tenant | length | subject
//! 44  RequestsTimer       timer   shard | due at | kind | department | tenant | subject
//! 45  SetAside            state   department | 0 | kind
//! 46  ParkedTimer         state   department | 0 | kind | the whole key of the timer
//! 47  ProducerUse         state   department | queue | kind | tenant | length | subject | used at | producer id
//! 48  Publisher           state   department | queue | kind | tenant | length | subject
//! ```

mod department_rows;
mod line;
mod meta_rows;
mod parts;
mod queue_rows;
mod subscription_rows;
mod timer;

pub use department_rows::{
    DeadLetterUseKey, DepartmentKey, ParkedTimerKey, QueueNameKey, RequestKey, RequestOrderKey, Requester,
    RequesterKey, SetAsideKey,
};
pub use line::{after_line, join_line, line, split_line};
pub use meta_rows::{CATALOGUE, CatalogueDepartmentKey, CatalogueStateKey, ShardKey, TenantKey};
use parts::Scope as _;
pub use queue_rows::{
    BodyKey, EntryKey, HeadKey, ProducerKey, ProducerUseKey, Publisher, PublisherKey, QueueKey,
};
pub use subscription_rows::{
    AckChunkKey, ClosedLeaseKey, LeaseKey, ProgressKey, RelocatedBodyKey, RetryKey, SubscriptionKey,
};
pub use timer::{Timer, TimerKey};

use crate::{
    ids::{DepartmentId, Lane, QueueRef, SubscriptionRef},
    kv::Family,
};

/// The kinds of keys. The numbers are persisted: a number never changes its meaning, and is not used again when it is
/// retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A department: [`DepartmentKey`].
    Department = 1,
    /// A queue's name: [`QueueNameKey`].
    QueueName = 2,
    /// The use of a queue as dead-letter queue: [`DeadLetterUseKey`].
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
    /// A closed lease, by time: [`ClosedLeaseKey`].
    ClosedLease = 10,
    /// A message that came back from a delivery: [`RetryKey`].
    Retry = 11,
    /// A producer session: [`ProducerKey`].
    Producer = 12,
    /// The body of a message: [`BodyKey`].
    Body = 13,
    /// The relocated body of a message: [`RelocatedBodyKey`].
    RelocatedBody = 14,
    /// A publish: [`EntryKey`].
    Entry = 15,
    /// A timer that ends deliveries of a lease: [`Timer::Lease`].
    LeaseTimer = 16,
    /// A timer of a message that waits: [`Timer::Retry`].
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
    /// A request, in the order in which requests are forgotten: [`RequestOrderKey`].
    RequestOrder = 42,
    /// A caller whose requests are remembered: [`RequesterKey`].
    Requester = 43,
    /// A timer that forgets requests: [`Timer::Requests`].
    RequestsTimer = 44,
    /// Why a department is set aside: [`SetAsideKey`].
    SetAside = 45,
    /// A timer that was due while its department was set aside: [`ParkedTimerKey`].
    ParkedTimer = 46,
    /// A producer session, in the order of use: [`ProducerUseKey`].
    ProducerUse = 47,
    /// A caller that has producer sessions in a queue: [`PublisherKey`].
    Publisher = 48,
}

/// A kind of key, and the type of its row.
pub trait Key: Sized {
    /// The family of the rows.
    const FAMILY: Family;
    /// The number of the kind.
    const KIND: Kind;
    /// The row; `()` if the value is empty, or no message.
    type Row: prost::Message + Default;

    /// The key's bytes.
    fn encode(&self) -> Vec<u8>;

    /// Decodes a key; `None` if the bytes are no whole key of this kind.
    fn decode(key: &[u8]) -> Option<Self>;
}

/// The key of a message's body.
#[must_use]
pub fn body(queue: QueueRef, lane: Lane, sequence: u64) -> Vec<u8> {
    BodyKey { queue, lane, sequence }.encode()
}

/// The key of a message's relocated body. [`crate::body::read`] finds a body wherever it is.
#[must_use]
pub fn relocated(subscription: SubscriptionRef, lane: Lane, sequence: u64) -> Vec<u8> {
    RelocatedBodyKey { subscription, lane, sequence }.encode()
}

/// The prefix of all rows of a queue, in every family but timer and meta.
#[must_use]
pub fn queue_prefix(queue: QueueRef) -> Vec<u8> {
    let mut key = Vec::with_capacity(8);
    key.extend_from_slice(&queue.department.0.to_be_bytes());
    key.extend_from_slice(&queue.queue.0.to_be_bytes());
    key
}

/// The prefix of all rows of a department, in every family but timer and meta.
#[must_use]
pub fn department_prefix(department: DepartmentId) -> Vec<u8> {
    department.0.to_be_bytes().to_vec()
}

/// The prefix of the rows of one kind of a queue.
#[must_use]
pub fn kind_prefix(queue: QueueRef, kind: Kind) -> Vec<u8> {
    queue.begin(kind).done()
}

/// The prefix of the rows of one kind of a subscription.
#[must_use]
pub fn subscription_prefix(subscription: SubscriptionRef, kind: Kind) -> Vec<u8> {
    subscription.begin(kind).done()
}

/// The department that a row belongs to; none for rows of a shard or of the catalogue.
#[must_use]
pub fn department_of(family: Family, key: &[u8]) -> Option<DepartmentId> {
    match family {
        Family::Body | Family::Entry | Family::State => parts::Reader(key).part(),
        Family::Timer | Family::Meta => None,
    }
}

/// The kind in a department's key.
#[must_use]
pub fn kind_of(key: &[u8]) -> Option<u8> {
    key.get(8).copied()
}

/// The last key of the same length before this one; `None` if all bytes are zero.
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

/// The first key after all keys that begin with `prefix`.
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
