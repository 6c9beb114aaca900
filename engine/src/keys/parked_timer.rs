//! A timer that was due while its department was set aside: `department | 0 | kind | the timer's key`. It goes back to the others
//! when the department is opened again.

use super::{
    Key, Kind, TimerKey,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef},
    kv::Family,
};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedTimerKey {
    /// Whose.
    pub department: DepartmentId,
    /// The timer, as it stood among the others.
    pub timer: TimerKey,
}

impl ParkedTimerKey {
    /// All of a department begin so.
    #[must_use]
    pub fn all_of(department: DepartmentId) -> Vec<u8> {
        Self::writer(department).done()
    }

    fn writer(department: DepartmentId) -> Writer {
        Writer::queue(QueueRef { department, queue: QueueId(0) }, Self::KIND)
    }
}

impl Key for ParkedTimerKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::ParkedTimer;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        Self::writer(self.department).bytes(&self.timer.encode()).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let QueueRef { department, queue: QueueId(0) } = key.queue(Self::KIND)? else { return None };
        Some(Self { department, timer: TimerKey::decode(key.rest())? })
    }
}
