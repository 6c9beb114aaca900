//! Keys of the rows of a queue.

use bytes::Bytes;

use super::{
    Key, Kind,
    line::{LINE_BYTES, line},
    parts::{Reader, Scope, Writer, keys},
};
use crate::{
    ids::{Lane, QueueRef, TenantId},
    kv::Family,
    schema::{EntryRow, ProducerRow, PublisherRow, QueueHeadRow, QueueRow},
};

/// A caller that publishes to a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publisher {
    /// The queue.
    pub queue: QueueRef,
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller's subject.
    pub subject: String,
}

impl Scope for Publisher {
    fn begin(&self, kind: Kind) -> Writer {
        Writer::queue(self.queue, kind).caller(self.tenant, &self.subject)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let queue = Scope::read_scope(key, kind)?;
        let (tenant, subject) = key.caller()?;
        Some(Self { queue, tenant, subject })
    }
}

keys! {
    /// A queue's definition.
    #[derive(Copy)]
    QueueKey: Queue, State -> QueueRow {
        /// The queue.
        queue: QueueRef,
    }

    /// A queue's head: its next sequence, its watermarks and its counts.
    #[derive(Copy)]
    HeadKey: Head, State -> QueueHeadRow {
        /// The queue.
        queue: QueueRef,
    }

    /// A publish: the facts that `apply` needs of its messages.
    #[derive(Copy)]
    EntryKey: Entry, Entry -> EntryRow {
        /// The queue.
        queue: QueueRef,
        /// The sequence of its first message.
        first_sequence: u64,
    }

    /// A producer session.
    ProducerKey: Producer, State -> ProducerRow {
        /// The queue.
        queue: QueueRef,
        /// The id that the producer chose.
        producer: Bytes,
    }

    /// A producer session in the order of use. The key has no row.
    ProducerUseKey: ProducerUse, State -> () {
        /// Whose session.
        publisher: Publisher,
        /// When the session was last used, or at most `PRODUCER_REORDER_MS` before that.
        used_ms: u64,
        /// The id that the producer chose.
        producer: Bytes,
    }

    /// A caller that has producer sessions in a queue, and how many.
    PublisherKey: Publisher, State -> PublisherRow {
        /// The caller.
        publisher: Publisher,
    }
}

impl ProducerUseKey {
    /// Where the sessions of a publisher begin that were used at or after a time.
    #[must_use]
    pub fn from(publisher: &Publisher, used_ms: u64) -> Vec<u8> {
        publisher.begin(Self::KIND).u64(used_ms).done()
    }

    /// Where the sessions of a publisher end.
    #[must_use]
    pub fn end(publisher: &Publisher) -> Vec<u8> {
        super::after(&publisher.begin(Self::KIND).done())
    }
}

/// A message's body where it was published: header and content, see [`crate::body`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyKey {
    /// The queue.
    pub queue: QueueRef,
    /// The message's lane.
    pub lane: Lane,
    /// The message's sequence.
    pub sequence: u64,
}

impl Key for BodyKey {
    const FAMILY: Family = Family::Body;
    const KIND: Kind = Kind::Body;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        // Runs for each message that is published: one allocation of the right size.
        let mut key = [0; LINE_BYTES + 8];
        key[..LINE_BYTES].copy_from_slice(&line(self.queue, self.lane));
        key[LINE_BYTES..].copy_from_slice(&self.sequence.to_be_bytes());
        key.to_vec()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = Scope::read_scope(&mut key, Self::KIND)?;
        let (lane, sequence) = (key.part()?, key.u64()?);
        key.end()?;
        Some(Self { queue, lane, sequence })
    }
}
