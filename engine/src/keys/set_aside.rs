//! Why a department is set aside: `department | 0 | kind`. It stands there as long as the department is.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef},
    kv::Family,
    schema::SetAsideRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAsideKey {
    /// Which.
    pub department: DepartmentId,
}

impl Key for SetAsideKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::SetAside;
    type Row = SetAsideRow;

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
