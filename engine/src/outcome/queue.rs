//! Outcomes of changes of queues.

use super::DepartmentError;
use crate::{
    ids::{DepartmentId, QueueId},
    schema::QueueSettings,
};

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
    /// When it was created, by the wall clock, Unix milliseconds.
    pub created_at_ms: u64,
    /// When it was last changed, by the wall clock, Unix milliseconds.
    pub updated_at_ms: u64,
    /// Its settings, with defaults filled in.
    pub settings: QueueSettings,
}

/// Why a queue was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateQueueError {
    /// The department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// The name is taken.
    #[error("a queue of this name exists")]
    AlreadyExists,
    /// The settings are not usable.
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
    /// A dead-letter queue cannot have a dead-letter queue.
    #[error("a dead-letter queue cannot have a dead-letter queue of its own")]
    DeadLetterChain,
    /// The value of this field is outside its limits.
    #[error("{0} is outside its limits")]
    OutOfRange(&'static str),
}

/// Why a queue was not updated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateQueueError {
    /// The department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue has this name.
    #[error("the queue does not exist")]
    NotFound,
    /// The definition has changed since it was read.
    #[error("the queue's definition has changed: revision is {0}")]
    RevisionMismatch(u64),
    /// The settings are not usable.
    #[error("the settings are not usable: {0}")]
    Settings(SettingsError),
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// Why a queue was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteQueueError {
    /// The department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue has this name.
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
    /// The department cannot be used.
    #[error(transparent)]
    Department(#[from] DepartmentError),
    /// No queue has this name.
    #[error("the queue does not exist")]
    NotFound,
    /// The request's id is remembered for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
}
