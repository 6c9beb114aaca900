//! A message: `department | queue | kind | lane | sequence` -> header and content, see [`crate::body`].

use super::{Key, Kind, parts::Reader};
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
        // One for each message that is published: put together before the one allocation, of the right size.
        let mut key = [0; 18];
        key[..4].copy_from_slice(&self.queue.department.0.to_be_bytes());
        key[4..8].copy_from_slice(&self.queue.queue.0.to_be_bytes());
        key[8] = Self::KIND as u8;
        key[9] = self.lane.0;
        key[10..].copy_from_slice(&self.sequence.to_be_bytes());
        key.to_vec()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = key.queue(Self::KIND)?;
        let (lane, sequence) = (Lane(key.u8()?), key.u64()?);
        key.end()?;
        Some(Self { queue, lane, sequence })
    }
}
