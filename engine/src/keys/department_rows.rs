//! Keys of the rows of a department itself.

use super::{
    Key, Kind, TimerKey,
    parts::{Reader, Scope, Writer, keys},
};
use crate::{
    ids::{DepartmentId, QueueId, TenantId},
    kv::Family,
    schema::{DepartmentRow, QueueNameRow, RequestOrderRow, RequestRow, RequesterRow, SetAsideRow},
};

/// A caller that asks for changes in a department.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requester {
    /// The department.
    pub department: DepartmentId,
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller's subject.
    pub subject: String,
}

impl Scope for Requester {
    fn begin(&self, kind: Kind) -> Writer {
        self.department.begin(kind).caller(self.tenant, &self.subject)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let department = Scope::read_scope(key, kind)?;
        let (tenant, subject) = key.caller()?;
        Some(Self { department, tenant, subject })
    }
}

keys! {
    /// What a shard knows of a department.
    #[derive(Copy)]
    DepartmentKey: Department, State -> DepartmentRow {
        /// The department.
        department: DepartmentId,
    }

    /// A queue's name; its row has the queue's id.
    QueueNameKey: QueueName, State -> QueueNameRow {
        /// The department.
        department: DepartmentId,
        /// The queue's name.
        name: String,
    }

    /// A request that was done.
    RequestKey: Request, State -> RequestRow {
        /// Whose request.
        requester: Requester,
        /// The id that the caller chose.
        id: String,
    }

    /// A request in the order in which requests are forgotten.
    RequestOrderKey: RequestOrder, State -> RequestOrderRow {
        /// Whose request.
        requester: Requester,
        /// Counts the requester's requests.
        number: u64,
    }

    /// A caller whose requests are remembered.
    RequesterKey: Requester, State -> RequesterRow {
        /// The caller.
        requester: Requester,
    }

    /// Why a department is set aside: the row exists as long as the department is.
    #[derive(Copy)]
    SetAsideKey: SetAside, State -> SetAsideRow {
        /// The department.
        department: DepartmentId,
    }

    /// A timer that was due while its department was set aside. Reopening the department puts it back among the
    /// timers. The key has no row.
    ParkedTimerKey: ParkedTimer, State -> () {
        /// The department.
        department: DepartmentId,
        /// The timer's own key.
        timer: TimerKey,
    }
}

impl ParkedTimerKey {
    /// The prefix of all parked timers of a department.
    #[must_use]
    pub fn all_of(department: DepartmentId) -> Vec<u8> {
        department.begin(Self::KIND).done()
    }
}

/// A queue that names another as its dead-letter queue, by the name. The key has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterUseKey {
    /// The department.
    pub department: DepartmentId,
    /// The name of the dead-letter queue.
    pub target: String,
    /// The queue that names it.
    pub queue: QueueId,
}

impl DeadLetterUseKey {
    /// The prefix of the keys of all queues that name this target.
    #[must_use]
    pub fn users(department: DepartmentId, target: &str) -> Vec<u8> {
        department.begin(Self::KIND).text(target).done()
    }
}

impl Key for DeadLetterUseKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::DeadLetterUse;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        self.department.begin(Self::KIND).text(&self.target).part(&self.queue).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let department = Scope::read_scope(&mut key, Self::KIND)?;
        let (target, queue) = (key.text()?, key.part()?);
        key.end()?;
        Some(Self { department, target, queue })
    }
}
