//! Ids. They are allocated, never reused, and stand in keys big-endian.

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
    /// A queue, allocated by its shard within its department; 0 stands for the department itself.
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

/// The subscription every queue is born with.
pub const DEFAULT_SUBSCRIPTION: SubscriptionId = SubscriptionId(1);
/// Its name.
pub const DEFAULT_SUBSCRIPTION_NAME: &str = "default";
/// The only lane for now.
pub const DEFAULT_LANE: Lane = Lane(0);

/// One queue of one department: the unit every hot command names.
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
