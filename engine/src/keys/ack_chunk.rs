//! Ack state: `department | queue | kind | subscription | lane | chunk` -> the bitmaps of 4,096 sequences.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{Lane, SubscriptionRef},
    kv::Family,
    schema::AckChunkRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckChunkKey {
    /// Whose.
    pub subscription: SubscriptionRef,
    /// Its lane.
    pub lane: Lane,
    /// Sequence divided by the chunk size.
    pub chunk: u64,
}

impl Key for AckChunkKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::AckChunk;
    type Row = AckChunkRow;

    fn encode(&self) -> Vec<u8> {
        Writer::subscription(self.subscription, Self::KIND).u8(self.lane.0).u64(self.chunk).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let subscription = key.subscription(Self::KIND)?;
        let (lane, chunk) = (Lane(key.u8()?), key.u64()?);
        key.end()?;
        Some(Self { subscription, lane, chunk })
    }
}
