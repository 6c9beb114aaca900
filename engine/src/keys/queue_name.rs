//! A queue's name: `department | 0 | kind | name` -> its id.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef},
    kv::Family,
    schema::QueueNameRow,
};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueNameKey {
    /// Which.
    pub department: DepartmentId,
    /// Its name.
    pub name: String,
}

impl Key for QueueNameKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::QueueName;
    type Row = QueueNameRow;

    fn encode(&self) -> Vec<u8> {
        Writer::queue(QueueRef { department: self.department, queue: QueueId(0) }, Self::KIND)
            .bytes(self.name.as_bytes())
            .done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let QueueRef { department, queue: QueueId(0) } = key.queue(Self::KIND)? else { return None };
        Some(Self { department, name: key.text()? })
    }
}
