//! Ids. They are allocated, never reused, and big-endian in keys.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A shard: a set of departments with one log.
    ShardId(u16)
);
id!(
    /// A tenant, allocated by the catalogue.
    TenantId(u32)
);
id!(
    /// A department, allocated by the catalogue.
    DepartmentId(u32)
);
id!(
    /// A queue, allocated by its shard within its department; 0 is the department itself.
    QueueId(u32)
);
id!(
    /// A subscription of a queue.
    SubscriptionId(u32)
);
id!(
    /// One priority's own order inside a queue.
    Lane(u8)
);
id!(
    /// A lease, allocated per subscription.
    LeaseId(u64)
);

/// The subscription that every queue is created with.
pub const DEFAULT_SUBSCRIPTION: SubscriptionId = SubscriptionId(1);
/// The name of that subscription.
pub const DEFAULT_SUBSCRIPTION_NAME: &str = "default";
/// The lane of a message whose publisher names none.
pub const DEFAULT_LANE: Lane = Lane(0);
/// The lanes of every queue. Only this constant says that there is one. Code that works for one lane takes the array
/// apart (`let [lane] = LANES`), so that a second lane does not compile before that code knows which of them it
/// means.
pub const LANES: [Lane; 1] = [DEFAULT_LANE];

impl Lane {
    /// The lane of a number in a command or a row, if there is such a lane.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        LANES.into_iter().find(|lane| u32::from(lane.0) == number)
    }
}

/// One queue of one department.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    /// Its department.
    pub department: DepartmentId,
    /// The queue within it.
    pub queue: QueueId,
}

/// One subscription of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionRef {
    /// Its queue.
    pub queue: QueueRef,
    /// The subscription within it.
    pub subscription: SubscriptionId,
}
