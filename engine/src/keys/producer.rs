//! A producer session: `department | queue | kind | producer id`.

use bytes::Bytes;

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::QueueRef, kv::Family, schema::ProducerRow};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerKey {
    /// Whose.
    pub queue: QueueRef,
    /// The id it chose.
    pub producer: Bytes,
}

impl Key for ProducerKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Producer;
    type Row = ProducerRow;

    fn encode(&self) -> Vec<u8> {
        Writer::queue(self.queue, Self::KIND).bytes(&self.producer).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = key.queue(Self::KIND)?;
        Some(Self { queue, producer: Bytes::copy_from_slice(key.rest()) })
    }
}
