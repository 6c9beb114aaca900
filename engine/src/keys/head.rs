//! The head of a queue: `department | queue | kind` -> next sequence, trim, count of producers.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::QueueRef, kv::Family, schema::QueueHeadRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadKey {
    /// Whose.
    pub queue: QueueRef,
}

impl Key for HeadKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Head;
    type Row = QueueHeadRow;

    fn encode(&self) -> Vec<u8> {
        Writer::queue(self.queue, Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = key.queue(Self::KIND)?;
        key.end()?;
        Some(Self { queue })
    }
}
