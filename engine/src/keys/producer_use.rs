//! Producer sessions in the order of their use: `department | queue | kind | tenant | length u16 | subject | used | producer id`.

use bytes::Bytes;

use super::{Key, Kind, Publisher};
use crate::kv::Family;

/// See the file's head. No row stands there but the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerUseKey {
    /// Whose session.
    pub publisher: Publisher,
    /// When it was used: the last time, or a little earlier.
    pub used_ms: u64,
    /// The id it chose.
    pub producer: Bytes,
}

impl ProducerUseKey {
    /// Where the sessions of a publisher begin that were used at or after a time.
    #[must_use]
    pub fn from(publisher: &Publisher, used_ms: u64) -> Vec<u8> {
        publisher.prefix(Self::KIND).u64(used_ms).done()
    }

    /// Where the sessions of a publisher end.
    #[must_use]
    pub fn end(publisher: &Publisher) -> Vec<u8> {
        super::after(&publisher.prefix(Self::KIND).done())
    }
}

impl Key for ProducerUseKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::ProducerUse;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        self.publisher.prefix(Self::KIND).u64(self.used_ms).bytes(&self.producer).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (publisher, mut rest) = Publisher::read(key, Self::KIND)?;
        let used_ms = rest.u64()?;
        Some(Self { publisher, used_ms, producer: Bytes::copy_from_slice(rest.rest()) })
    }
}
