//! A queue: `department | queue | kind` -> its definition.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::QueueRef, kv::Family, schema::QueueRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueKey {
    /// Whose.
    pub queue: QueueRef,
}

impl Key for QueueKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Queue;
    type Row = QueueRow;

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
