//! Whose requests are remembered: `department | 0 | kind | tenant | length u16 | subject`.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{DepartmentId, QueueId, QueueRef, TenantId},
    kv::Family,
    schema::RequesterRow,
};

/// Who asks for changes in a department.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requester {
    /// Where.
    pub department: DepartmentId,
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller's subject.
    pub subject: String,
}

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequesterKey {
    /// Who.
    pub requester: Requester,
}

impl Requester {
    /// The keys of one kind that are this requester's begin so.
    pub(super) fn prefix(&self, kind: Kind) -> Writer {
        let department = QueueRef { department: self.department, queue: QueueId(0) };
        Writer::queue(department, kind).caller(self.tenant, &self.subject)
    }

    /// The requester of a key, and what follows.
    pub(super) fn read(key: &[u8], kind: Kind) -> Option<(Self, Reader<'_>)> {
        let mut key = Reader(key);
        let QueueRef { department, queue: QueueId(0) } = key.queue(kind)? else { return None };
        let (tenant, subject) = key.caller()?;
        Some((Self { department, tenant, subject }, key))
    }
}

impl Key for RequesterKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Requester;
    type Row = RequesterRow;

    fn encode(&self) -> Vec<u8> {
        self.requester.prefix(Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (requester, rest) = Requester::read(key, Self::KIND)?;
        rest.end()?;
        Some(Self { requester })
    }
}
