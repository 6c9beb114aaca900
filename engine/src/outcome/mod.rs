//! The outcomes of commands: one type per command, one error enum per operation.

mod delivery;
mod publish;
mod queue;
mod redrive;

pub use delivery::{ExtendOutcome, Granted, GrantedItem, LiveDelivery, SettleOutcome};
pub use publish::{EntryResult, PublishError, Published};
pub use queue::{
    CreateQueueError, DeleteQueueError, PurgeQueueError, QueueView, SettingsError, UpdateQueueError,
};
pub use redrive::{RedriveError, RedriveOutcome, Redriven};

/// The outcome of one command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Of `LeaderStarted`.
    LeaderStarted,
    /// Of `ConfigureDepartment`: whether it changed anything.
    ConfigureDepartment(bool),
    /// Of `CreateQueue`.
    CreateQueue(Result<QueueView, CreateQueueError>),
    /// Of `UpdateQueue`.
    UpdateQueue(Result<QueueView, UpdateQueueError>),
    /// Of `DeleteQueue`.
    DeleteQueue(Result<(), DeleteQueueError>),
    /// Of `PurgeQueue`: how many unsettled messages were removed.
    PurgeQueue(Result<u64, PurgeQueueError>),
    /// Of `Publish`.
    Publish(Result<Published, PublishError>),
    /// Of `Grant`.
    Grant(Result<Granted, SubscriptionError>),
    /// Of `Settle`: one per delivery, in order.
    Settle(Result<Vec<SettleOutcome>, SubscriptionError>),
    /// Of `Extend`: one per token, in order.
    Extend(Result<Vec<ExtendOutcome>, SubscriptionError>),
    /// Of `ReleaseHolder`: how many deliveries were released.
    ReleaseHolder(Result<u32, SubscriptionError>),
    /// Of `Advance`.
    Advance(Advanced),
    /// Of `RedriveDeadLetters`.
    RedriveDeadLetters(Result<Redriven, RedriveError>),
}

/// A change that may have a request id, so that its repeats do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `CreateQueue`.
    Create,
    /// `UpdateQueue`.
    Update,
    /// `DeleteQueue`.
    Delete,
    /// `PurgeQueue`.
    Purge,
    /// `RedriveDeadLetters`.
    Redrive,
}

/// Why a department cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DepartmentError {
    /// The shard does not know it.
    #[error("the department does not exist")]
    NotFound,
    /// It is not in the configuration any more; its data is kept.
    #[error("the department is closed")]
    Closed,
    /// An operator has set it aside.
    #[error("the department is set aside")]
    SetAside,
}

/// Why a command on a subscription was refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// The department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// The queue does not exist, or was deleted.
    #[error("the queue does not exist")]
    QueueNotFound,
    /// The queue has no such subscription.
    #[error("the subscription does not exist")]
    SubscriptionNotFound,
}

/// The result of an `Advance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// The number of timers that were fired.
    pub fired: u32,
    /// Whether more are due.
    pub more: bool,
}

/// Counts of one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that may be delivered now.
    pub ready: u64,
    /// Messages that are leased.
    pub in_flight: u64,
    /// Messages that wait for a retry, without parked ones.
    pub waiting: u64,
    /// Dead letters that stay in their queue, which has no dead-letter queue.
    pub parked: u64,
    /// The sequence of the newest message; 0 if there was none.
    pub last_sequence: u64,
}
