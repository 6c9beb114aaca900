//! Whose producer sessions a queue has: `department | queue | kind | tenant | length u16 | subject`.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{QueueRef, TenantId},
    kv::Family,
    schema::PublisherRow,
};

/// A caller that publishes to a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publisher {
    /// Where to.
    pub queue: QueueRef,
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller's subject.
    pub subject: String,
}

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherKey {
    /// Who.
    pub publisher: Publisher,
}

impl Publisher {
    /// The keys of one kind that are this publisher's begin so.
    pub(super) fn prefix(&self, kind: Kind) -> Writer {
        Writer::queue(self.queue, kind).caller(self.tenant, &self.subject)
    }

    /// The publisher of a key, and what follows.
    pub(super) fn read(key: &[u8], kind: Kind) -> Option<(Self, Reader<'_>)> {
        let mut key = Reader(key);
        let queue = key.queue(kind)?;
        let (tenant, subject) = key.caller()?;
        Some((Self { queue, tenant, subject }, key))
    }
}

impl Key for PublisherKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Publisher;
    type Row = PublisherRow;

    fn encode(&self) -> Vec<u8> {
        self.publisher.prefix(Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (publisher, rest) = Publisher::read(key, Self::KIND)?;
        rest.end()?;
        Some(Self { publisher })
    }
}
