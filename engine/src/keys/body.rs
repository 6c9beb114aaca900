//! A message: `department | queue | kind | lane | sequence` -> header and content, see [`crate::body`].

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{Lane, QueueRef},
    kv::Family,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyKey {
    /// Whose.
    pub queue: QueueRef,
    /// Its lane.
    pub lane: Lane,
    /// The message's sequence.
    pub sequence: u64,
}

impl Key for BodyKey {
    const FAMILY: Family = Family::Body;
    const KIND: Kind = Kind::Body;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        Writer::queue(self.queue, Self::KIND).u8(self.lane.0).u64(self.sequence).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = key.queue(Self::KIND)?;
        let (lane, sequence) = (Lane(key.u8()?), key.u64()?);
        key.end()?;
        Some(Self { queue, lane, sequence })
    }
}
