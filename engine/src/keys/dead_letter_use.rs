//! Who names whom as dead-letter queue: `department | 0 | kind | length u16 | target's name | queue`.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef},
    kv::Family,
};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterUseKey {
    /// Which.
    pub department: DepartmentId,
    /// The target's name.
    pub target: String,
    /// The queue that names it.
    pub queue: QueueId,
}

impl DeadLetterUseKey {
    /// The keys of all who name this target begin so.
    #[must_use]
    pub fn users(department: DepartmentId, target: &str) -> Vec<u8> {
        Self { department, target: target.into(), queue: QueueId(0) }.prefix().done()
    }

    fn prefix(&self) -> Writer {
        // Names are short; a longer one would not decode, and is refused before it comes here.
        let length = u16::try_from(self.target.len()).unwrap_or(u16::MAX);
        let department = QueueRef { department: self.department, queue: QueueId(0) };
        Writer::queue(department, Self::KIND).u16(length).bytes(self.target.as_bytes())
    }
}

impl Key for DeadLetterUseKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::DeadLetterUse;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        self.prefix().u32(self.queue.0).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let QueueRef { department, queue: QueueId(0) } = key.queue(Self::KIND)? else { return None };
        let length = usize::from(key.u16()?);
        let (target, mut rest) =
            key.0.split_at_checked(length).map(|(target, rest)| (Reader(target), Reader(rest)))?;
        let queue = QueueId(rest.u32()?);
        rest.end()?;
        Some(Self { department, target: target.text()?, queue })
    }
}
