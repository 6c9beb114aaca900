//! A department: `department | 0 | kind` -> what its shard knows of it.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef},
    kv::Family,
    schema::DepartmentRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepartmentKey {
    /// Which.
    pub department: DepartmentId,
}

impl Key for DepartmentKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Department;
    type Row = DepartmentRow;

    fn encode(&self) -> Vec<u8> {
        Writer::queue(QueueRef { department: self.department, queue: QueueId(0) }, Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let QueueRef { department, queue: QueueId(0) } = key.queue(Self::KIND)? else { return None };
        key.end()?;
        Some(Self { department })
    }
}
