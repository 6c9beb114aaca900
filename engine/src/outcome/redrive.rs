//! Outcomes of redrives.

use super::SubscriptionError;
use crate::{
    ids::QueueId,
    schema::{RedriveAnswer, SkipReason},
};

/// A redrive that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Redriven {
    /// One per sequence, in order; none if the answer is that of an earlier request.
    pub outcomes: Vec<RedriveOutcome>,
    /// The answer to the caller.
    pub answer: RedriveAnswer,
}

/// What became of one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveOutcome {
    /// It has moved, as a new message of this queue.
    Moved {
        /// The queue that it moved to.
        queue: QueueId,
        /// Its sequence in that queue.
        sequence: u64,
    },
    /// It was parked, and may be delivered again where it is.
    Freed,
    /// It is leased.
    Leased,
    /// It is no dead letter, or not any more, or it is already in the target queue.
    NotDeadLetter,
    /// The queue that it came from does not exist any more.
    QueueGone,
    /// The redrive has moved as many bytes as one may: the next redrive continues here.
    NotReached,
    /// The leader has passed it over.
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
