//! Outcomes of publishes.

use super::DepartmentError;

/// A publish that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The publish time by the wall clock, Unix milliseconds.
    pub published_at_ms: u64,
    /// One per entry, in order.
    pub results: Vec<EntryResult>,
}

/// What became of one message of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryResult {
    /// Stored under this sequence.
    Stored(u64),
    /// An earlier attempt has stored it: its sequence, unless that is forgotten.
    Duplicate(Option<u64>),
    /// The proposer has refused it.
    Refused,
}

/// Why a publish was refused whole. Nothing is stored, and the producer's sequence is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The department cannot be used.
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
        /// The epoch of the batch.
        found: u64,
    },
    /// The batch's first sequence is not the expected one.
    #[error("sequence {expected} was expected, not {found}")]
    SequenceGap {
        /// The sequence that the session expects.
        expected: u64,
        /// The first sequence of the batch.
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
        "the token's subject has {limit} producer sessions in this queue, which is the limit, \
         and all were used within the last hour"
    )]
    TooManyOfSubject {
        /// The limit.
        limit: u32,
        /// The time until one of them may be forgotten, milliseconds.
        wait_ms: u64,
    },
    /// The batch is atomic, and one of its messages was refused.
    #[error("a message of an atomic batch was refused")]
    AtomicRefused,
}
