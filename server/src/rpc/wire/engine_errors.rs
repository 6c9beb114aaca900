//! Errors of the engine, the shards and the quotas as errors of the wire.

use std::time::Duration;

use posthouse_engine::{
    halt::Halt,
    outcome::{
        CreateQueueError, DeleteQueueError, DepartmentError, PublishError, PurgeQueueError, RedriveError,
        SettingsError, SubscriptionError, UpdateQueueError,
    },
};
use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::{
    quota::{Cap, Exceeded},
    rpc::wire::status::ApiError,
    shard::{ShardError, Stop},
};

impl From<ShardError> for ApiError {
    fn from(error: ShardError) -> Self {
        let second = std::time::Duration::from_secs(1);
        match error {
            ShardError::Halted(_) => Self::shard_halted(),
            ShardError::DiskFull => {
                let text = "the server's disk is nearly full: nothing of this was stored; consuming goes on, and \
                            publishing again once an operator has made room";
                Self::new(Code::ResourceExhausted, ErrorReason::DiskFull, text).with_retry_delay(10 * second)
            }
            ShardError::Overloaded => {
                let text = "more is waiting for the disk than the server takes: nothing of this was stored; try again";
                Self::new(Code::ResourceExhausted, ErrorReason::ServerOverloaded, text)
                    .with_retry_delay(second)
            }
            ShardError::TooLarge => {
                let text = "the request is larger than a log entry may be; send smaller batches";
                Self::new(Code::InvalidArgument, ErrorReason::BatchInvalid, text)
            }
            ShardError::Stopping => {
                let text = "the server stopped before it knew whether this was stored; try again";
                Self::new(Code::Unavailable, ErrorReason::ServerDraining, text).with_retry_delay(second)
            }
        }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        let text = format!("the tenant has reached a limit: {}", exceeded.description());
        let error = Self::new(Code::ResourceExhausted, ErrorReason::LimitReached, text)
            .with_metadata("limit", exceeded.cap.as_str())
            .with_quota(format!("tenants/{}", exceeded.tenant), exceeded.description());
        match exceeded.cap {
            // These limits are lifted as messages are consumed and streams are closed.
            Cap::StoredBytes | Cap::Streams | Cap::TokenlessStreams => {
                error.with_retry_delay(Duration::from_secs(5))
            }
            Cap::CallsPerSecond => error.with_retry_delay(exceeded.wait.unwrap_or(Duration::from_secs(1))),
            Cap::Queues | Cap::MessageBytes => error,
        }
    }
}

impl From<Halt> for ApiError {
    fn from(halt: Halt) -> Self {
        if let Halt::SetAside(_) = halt {
            return Self::set_aside();
        }
        tracing::error!(%halt, "a shard's state could not be read");
        ShardError::Halted(Stop::Halt(halt)).into()
    }
}

impl From<DepartmentError> for ApiError {
    fn from(error: DepartmentError) -> Self {
        match error {
            DepartmentError::NotFound => Self::department_not_found("the department"),
            DepartmentError::Closed => Self::department_closed(),
            DepartmentError::SetAside => Self::set_aside(),
        }
    }
}

fn queue_not_found() -> ApiError {
    ApiError::queue_not_found("the queue")
}

fn request_id_reused() -> ApiError {
    let text = "this id was used for another request within the last day: nothing was done; use a fresh one";
    ApiError::field(ErrorReason::RequestIdReused, "request_id", text)
}

fn etag_mismatch(revision: u64) -> ApiError {
    let text = format!(
        "the queue's definition has changed since it was read (its etag is {revision}); read it again"
    );
    ApiError::new(Code::Aborted, ErrorReason::EtagMismatch, text)
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Department(why) => why.into(),
            PublishError::QueueNotFound => Self::queue_deleted(),
            PublishError::Fenced { .. } => Self::new(
                Code::FailedPrecondition,
                ErrorReason::ProducerFenced,
                format!("{text}; stop: another instance has taken over this producer id"),
            ),
            PublishError::SequenceGap { expected, .. } => {
                Self::new(Code::FailedPrecondition, ErrorReason::ProducerSequenceGap, text)
                    .with_metadata("expected_sequence", expected.to_string())
            }
            PublishError::ForeignProducer => Self::new(
                Code::PermissionDenied,
                ErrorReason::ProducerForeign,
                format!("{text}; choose a random one"),
            ),
            PublishError::TooManyProducers(_) => {
                Self::new(Code::ResourceExhausted, ErrorReason::LimitReached, text)
            }
            PublishError::TooManyOfSubject { limit, wait_ms } => {
                let text = format!("{text}; keep a producer's session over restarts, or publish without one");
                Self::new(Code::ResourceExhausted, ErrorReason::LimitReached, text)
                    .with_quota("producer sessions of a subject in a queue", format!("at most {limit}"))
                    .with_retry_delay(Duration::from_millis(wait_ms.clamp(1_000, 60_000)))
            }
            PublishError::AtomicRefused => Self::new(Code::InvalidArgument, ErrorReason::BatchInvalid, text),
        }
    }
}

impl From<SubscriptionError> for ApiError {
    fn from(error: SubscriptionError) -> Self {
        match error {
            SubscriptionError::Department(why) => why.into(),
            SubscriptionError::QueueNotFound => Self::queue_deleted(),
            SubscriptionError::SubscriptionNotFound => {
                Self::new(Code::NotFound, ErrorReason::SubscriptionNotFound, error.to_string())
            }
        }
    }
}

impl From<RedriveError> for ApiError {
    fn from(error: RedriveError) -> Self {
        match error {
            RedriveError::Subscription(why) => why.into(),
            RedriveError::TargetNotFound => {
                Self::new(Code::NotFound, ErrorReason::QueueNotFound, error.to_string())
            }
            RedriveError::RequestIdReused => request_id_reused(),
        }
    }
}

impl From<CreateQueueError> for ApiError {
    fn from(error: CreateQueueError) -> Self {
        let text = error.to_string();
        match error {
            CreateQueueError::Department(why) => why.into(),
            CreateQueueError::AlreadyExists => {
                Self::new(Code::AlreadyExists, ErrorReason::QueueAlreadyExists, text)
            }
            CreateQueueError::Settings(why) => why.into(),
            CreateQueueError::TooMany(_) => {
                Self::new(Code::ResourceExhausted, ErrorReason::LimitReached, text)
            }
            CreateQueueError::RequestIdReused => request_id_reused(),
        }
    }
}

impl From<SettingsError> for ApiError {
    fn from(error: SettingsError) -> Self {
        let field = match error {
            SettingsError::DeadLetterSelf | SettingsError::DeadLetterChain => {
                "default_subscription.dead_letter_queue"
            }
            SettingsError::OutOfRange(field) => field,
        };
        Self::field(ErrorReason::SettingsInvalid, field, format!("{error}; choose another"))
    }
}

impl From<UpdateQueueError> for ApiError {
    fn from(error: UpdateQueueError) -> Self {
        match error {
            UpdateQueueError::Department(why) => why.into(),
            UpdateQueueError::NotFound => queue_not_found(),
            UpdateQueueError::RevisionMismatch(revision) => etag_mismatch(revision),
            UpdateQueueError::Settings(why) => why.into(),
            UpdateQueueError::RequestIdReused => request_id_reused(),
        }
    }
}

impl From<DeleteQueueError> for ApiError {
    fn from(error: DeleteQueueError) -> Self {
        match error {
            DeleteQueueError::Department(why) => why.into(),
            DeleteQueueError::NotFound => queue_not_found(),
            DeleteQueueError::RevisionMismatch(revision) => etag_mismatch(revision),
            DeleteQueueError::RequestIdReused => request_id_reused(),
        }
    }
}

impl From<PurgeQueueError> for ApiError {
    fn from(error: PurgeQueueError) -> Self {
        match error {
            PurgeQueueError::Department(why) => why.into(),
            PurgeQueueError::NotFound => queue_not_found(),
            PurgeQueueError::RequestIdReused => request_id_reused(),
        }
    }
}
