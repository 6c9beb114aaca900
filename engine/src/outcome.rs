//! What a command answers its caller: one type per command, one error enum per operation.

use crate::{
    ids::{DepartmentId, LeaseId, QueueId},
    schema::{QueueSettings, RedriveAnswer, SettleKind, SkipReason, TokenRef},
};

/// The answer to one command, in the batch's order.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// To `LeaderStarted`.
    LeaderStarted,
    /// To `ConfigureDepartment`: whether it changed anything.
    ConfigureDepartment(bool),
    /// To `CreateQueue`.
    CreateQueue(Result<QueueView, CreateQueueError>),
    /// To `UpdateQueue`.
    UpdateQueue(Result<QueueView, UpdateQueueError>),
    /// To `DeleteQueue`.
    DeleteQueue(Result<(), DeleteQueueError>),
    /// To `PurgeQueue`: how many unsettled messages were removed.
    PurgeQueue(Result<u64, PurgeQueueError>),
    /// To `Publish`.
    Publish(Result<Published, PublishError>),
    /// To `Grant`.
    Grant(Result<Granted, SubscriptionError>),
    /// To `Settle`: one per item, in order.
    Settle(Result<Vec<SettleOutcome>, SubscriptionError>),
    /// To `Extend`: one per token, in order.
    Extend(Result<Vec<ExtendOutcome>, SubscriptionError>),
    /// To `ReleaseHolder`: how many deliveries were released.
    ReleaseHolder(Result<u32, SubscriptionError>),
    /// To `Advance`.
    Advance(Advanced),
    /// To `RedriveDeadLetters`.
    RedriveDeadLetters(Result<Redriven, RedriveError>),
}

/// A change that a request may ask for, and that is made once.
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

/// A queue's definition, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Its department.
    pub department: DepartmentId,
    /// Its id.
    pub queue: QueueId,
    /// Its name.
    pub name: String,
    /// Counts changes of the definition, from 1.
    pub revision: u64,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Unix milliseconds.
    pub updated_at_ms: u64,
    /// Settings, whole.
    pub settings: QueueSettings,
}

/// Why a department cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DepartmentError {
    /// The shard was never told of it.
    #[error("the department does not exist")]
    NotFound,
    /// It disappeared from the configuration; its data is kept.
    #[error("the department is closed")]
    Closed,
    /// An operator has set it aside.
    #[error("the department is set aside")]
    SetAside,
}

/// Why a queue was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateQueueError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// The name is taken.
    #[error("a queue of this name exists")]
    AlreadyExists,
    /// The dead-letter target is itself, has a target of its own, or does not exist.
    #[error("the settings are not usable: {0}")]
    Settings(SettingsError),
    /// The department holds as many queues as it may.
    #[error("the department holds {0} queues, which is the limit")]
    TooMany(u32),
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// Which setting is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A queue cannot be its own dead-letter queue.
    #[error("a queue cannot be its own dead-letter queue")]
    DeadLetterSelf,
    /// A dead-letter queue has none of its own.
    #[error("a dead-letter queue cannot have a dead-letter queue of its own")]
    DeadLetterChain,
    /// A value outside its limits.
    #[error("{0} is outside its limits")]
    OutOfRange(&'static str),
}

/// Why a queue was not updated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateQueueError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue of this name.
    #[error("the queue does not exist")]
    NotFound,
    /// The definition has changed since it was read.
    #[error("the queue's definition has changed: revision is {0}")]
    RevisionMismatch(u64),
    /// See [`SettingsError`].
    #[error("the settings are not usable: {0}")]
    Settings(SettingsError),
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// Why a queue was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteQueueError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue of this name.
    #[error("the queue does not exist")]
    NotFound,
    /// The definition has changed since it was read.
    #[error("the queue's definition has changed: revision is {0}")]
    RevisionMismatch(u64),
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// Why a queue was not purged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PurgeQueueError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue of this name.
    #[error("the queue does not exist")]
    NotFound,
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// A publish that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// As it is told: the wall clock's time, Unix milliseconds.
    pub published_at_ms: u64,
    /// One per entry, in order.
    pub results: Vec<EntryResult>,
}

/// What became of one message of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryResult {
    /// Stored under this sequence.
    Stored(u64),
    /// An earlier attempt had stored it: its sequence, unless that is forgotten.
    Duplicate(Option<u64>),
    /// The proposer had refused it.
    Refused,
}

/// Why a publish was refused whole: nothing stored, no producer sequence taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// The queue does not exist, or was deleted.
    #[error("the queue does not exist")]
    QueueNotFound,
    /// A later epoch of this producer has published.
    #[error("epoch {current} of this producer has published; this one is {found}")]
    Fenced {
        /// The epoch in force.
        current: u64,
        /// The batch's.
        found: u64,
    },
    /// The batch's first sequence is not the expected one.
    #[error("sequence {expected} was expected, not {found}")]
    SequenceGap {
        /// What the session expects.
        expected: u64,
        /// What the batch brought.
        found: u64,
    },
    /// The producer id belongs to another principal.
    #[error("the producer id belongs to another principal")]
    ForeignProducer,
    /// Before machine version 7: the queue holds as many producer sessions as it may.
    #[error("the queue holds {0} producer sessions, which is the limit")]
    TooManyProducers(u32),
    /// The subject has as many producer sessions in the queue as it may, all of them used within the last hour.
    #[error(
        "the token's subject has {limit} producer sessions in this queue, which is the limit, and all were used within the last hour"
    )]
    TooManyOfSubject {
        /// The limit.
        limit: u32,
        /// How long it takes until one of them can make room, milliseconds.
        wait_ms: u64,
    },
    /// An atomic batch with a refused message.
    #[error("a message of an atomic batch was refused")]
    AtomicRefused,
}

/// Why a command on a subscription was refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Its department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// The queue does not exist, or was deleted.
    #[error("the queue does not exist")]
    QueueNotFound,
    /// The queue has no such subscription.
    #[error("the subscription does not exist")]
    SubscriptionNotFound,
}

/// A lease that was granted. With no items there is no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub lease: LeaseId,
    /// The grant's nonce.
    pub nonce: u64,
    /// By the time of batches, Unix milliseconds.
    pub deadline_ms: u64,
    /// What was free of what was asked, by ascending index.
    pub items: Vec<GrantedItem>,
}

impl Granted {
    /// Its items, each with what it shares with the others.
    pub fn deliveries(&self) -> impl Iterator<Item = LiveDelivery> {
        let &Self { lease, nonce, deadline_ms, .. } = self;
        self.items.iter().map(move |&item| LiveDelivery { lease, nonce, deadline_ms, item })
    }
}

/// One message of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedItem {
    /// Its place in the lease: part of the token.
    pub index: u32,
    /// Its sequence in the queue.
    pub sequence: u64,
    /// 1 for the first.
    pub attempt: u32,
}

/// A delivery whose lease is live, for a session that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveDelivery {
    /// Its lease.
    pub lease: LeaseId,
    /// The lease's nonce.
    pub nonce: u64,
    /// By the time of batches, Unix milliseconds, as extended.
    pub deadline_ms: u64,
    /// Index, sequence, attempt.
    pub item: GrantedItem,
}

impl LiveDelivery {
    /// What proves it to have been delivered.
    pub fn token(&self) -> TokenRef {
        TokenRef { lease: self.lease.0, index: self.item.index, nonce: self.nonce }
    }
}

/// What became of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Done now.
    Settled,
    /// The same holder had settled it before, so.
    AlreadySettled(SettleKind),
    /// No such lease, index or nonce, or it is somebody else's.
    TokenInvalid,
    /// The lease has ended.
    LeaseLost,
    /// The lease has ended and the message was settled under a later one.
    SettledByAnother,
    /// The message was purged: nobody gets it any more.
    MessagePurged,
}

/// What became of one extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The deadline in force, by the time of batches.
    Extended(u64),
    /// The delivery is settled.
    AlreadySettled(SettleKind),
    /// No such lease, index or nonce, or it is somebody else's.
    TokenInvalid,
    /// The lease has ended.
    LeaseLost,
    /// The lease has ended and the message was settled under a later one.
    SettledByAnother,
    /// The message was purged: nobody gets it any more.
    MessagePurged,
}

/// A redrive that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Redriven {
    /// One per sequence, in order; none if the answer is that of an earlier request.
    pub outcomes: Vec<RedriveOutcome>,
    /// What the caller is told.
    pub answer: RedriveAnswer,
}

/// What became of one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveOutcome {
    /// It moved, as a new message of this queue.
    Moved {
        /// Where to.
        queue: QueueId,
        /// Its sequence there.
        sequence: u64,
    },
    /// It was parked, and may be delivered again where it is.
    Freed,
    /// A consumer has it.
    Leased,
    /// There is no such dead letter, or not any more, or it is where it was to go.
    NotDeadLetter,
    /// The queue it came from is gone.
    QueueGone,
    /// The redrive had moved as many bytes as one may: it is as it was, for the next.
    NotReached,
    /// The leader had passed it over.
    PassedOver(SkipReason),
}

/// Why nothing was redriven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedriveError {
    /// The queue that the dead letters are in cannot be used.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// The target does not exist.
    #[error("the target queue does not exist")]
    TargetNotFound,
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// What an `Advance` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// Timers fired.
    pub fired: u32,
    /// Whether more are due.
    pub more: bool,
}

/// Counts of one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// May be delivered now.
    pub ready: u64,
    /// Leased.
    pub in_flight: u64,
    /// Waiting for a retry (not parked).
    pub waiting: u64,
    /// Dead letters with nowhere to go.
    pub parked: u64,
    /// Sequence of the newest message; 0 if there was none.
    pub last_sequence: u64,
}
