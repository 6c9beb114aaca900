//! A publish: `department | queue | kind | first sequence` -> the facts that apply needs of its messages.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::QueueRef, kv::Family, schema::EntryRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey {
    /// Whose.
    pub queue: QueueRef,
    /// The sequence of its first message.
    pub first_sequence: u64,
}

impl Key for EntryKey {
    const FAMILY: Family = Family::Entry;
    const KIND: Kind = Kind::Entry;
    type Row = EntryRow;

    fn encode(&self) -> Vec<u8> {
        Writer::queue(self.queue, Self::KIND).u64(self.first_sequence).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let queue = key.queue(Self::KIND)?;
        let first_sequence = key.u64()?;
        key.end()?;
        Some(Self { queue, first_sequence })
    }
}
