//! What the engine, the shards and the streams refuse, in the wire's terms.

use std::time::Duration;

use posthouse_engine::{
    halt::Halt,
    outcome::{
        CreateQueueError, DeleteQueueError, DepartmentError, PublishError, PurgeQueueError, RedriveError,
        SettingsError, SubscriptionError, UpdateQueueError,
    },
};
use posthouse_proto::v1::ErrorReason;
use tonic::{Code, Status};

use crate::{
    limits,
    quota::{Cap, Exceeded},
    rpc::wire::status::ApiError,
    shard::{ShardError, Stop},
};

impl ApiError {
    /// A fault of the server: the log is told what, the caller that it happened. The text holds nothing of a request.
    pub(crate) fn fault(text: &'static str) -> Self {
        tracing::error!(text, "internal error");
        Self::internal()
    }

    /// A frame that has no place on its stream.
    pub(crate) fn frame(text: &'static str) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::FrameInvalid, text)
    }

    /// The client has reset its call, or its connection is gone.
    pub(crate) fn broken_off() -> Self {
        Self::new(Code::Cancelled, ErrorReason::FrameInvalid, "the client's half of the call broke off")
    }

    /// A refusal by the gRPC library, if this is one: the library gives no reasons.
    pub(crate) fn unexplained(status: &Status) -> Option<Self> {
        Some(match status.code() {
            Code::Internal | Code::InvalidArgument => {
                Self::frame("the request could not be decoded; send what proto/posthouse/v1 describes")
            }
            Code::OutOfRange | Code::ResourceExhausted => Self::too_large(limits::MAX_FRAME_BYTES),
            // The library's word for an error of the body that it does not know.
            Code::Unknown => Self::broken_off(),
            Code::Unimplemented if status.metadata().contains_key("grpc-accept-encoding") => {
                let text = "the request is compressed in a way that the server does not read; send it plain";
                Self::new(Code::Unimplemented, ErrorReason::FrameInvalid, text)
            }
            Code::Unimplemented => {
                let text =
                    "the server does not offer this method; use a server and a client of matching versions";
                Self::new(Code::Unimplemented, ErrorReason::MethodNotAllowed, text)
            }
            _ => return None,
        })
    }

    /// A request that is no gRPC call.
    pub(crate) fn no_grpc(text: &'static str) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::RequestInvalid, text)
    }

    pub(crate) fn too_large(most: usize) -> Self {
        let text = format!("a request or frame is larger than {most} bytes; send less at once");
        Self::new(Code::OutOfRange, ErrorReason::FrameInvalid, text).with_limit(most)
    }

    /// There is no room for a request, or for the answer to a read.
    pub(crate) fn no_capacity() -> Self {
        let text = "the connection, the tenant or the server holds as many bytes of requests and unread answers as it may: nothing \
                    was done; read the answers that wait, and try again";
        Self::new(Code::ResourceExhausted, ErrorReason::ServerOverloaded, text)
            .with_retry_delay(std::time::Duration::from_secs(1))
    }

    /// The queue that a call or a stream has found by its name is no more. Ids are never used again: one of the same name that
    /// was made since is another.
    pub(crate) fn queue_deleted() -> Self {
        let text = "the queue was deleted; a queue that was made under its name since then is another, which has to be opened anew";
        Self::new(Code::NotFound, ErrorReason::QueueDeleted, text)
    }

    /// Nothing of the department is read or changed.
    pub(crate) fn set_aside() -> Self {
        let text = "the department is set aside: its operators look at it, and nothing of it is read or changed until they open \
                    it again";
        Self::new(Code::FailedPrecondition, ErrorReason::DepartmentSetAside, text)
    }

    /// The server is about to stop.
    pub(crate) fn draining() -> Self {
        let text = "the server is about to stop; connect again, it or another will answer";
        Self::new(Code::Unavailable, ErrorReason::ServerDraining, text)
            .with_retry_delay(std::time::Duration::from_secs(1))
    }

    /// There is no place for the record of what was asked for.
    pub(crate) fn access_not_recorded() -> Self {
        let text = "nothing was done, since there is no place for its access record: what the server's records go to takes none; \
                    try again, and have the operators look at it";
        Self::new(Code::Unavailable, ErrorReason::AccessNotRecorded, text)
            .with_retry_delay(std::time::Duration::from_secs(1))
    }
}

impl From<ShardError> for ApiError {
    fn from(error: ShardError) -> Self {
        let second = std::time::Duration::from_secs(1);
        match error {
            ShardError::Halted(_) => {
                let text = "the department's shard is halted after a failed check; an operator must look at the server's log";
                Self::new(Code::Unavailable, ErrorReason::ShardHalted, text)
            }
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
            // These pass as others consume, or close their streams.
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
            DepartmentError::NotFound => Self::new(
                Code::NotFound,
                ErrorReason::DepartmentNotFound,
                "the department does not exist; departments are declared in the server's configuration",
            ),
            DepartmentError::Closed => Self::new(
                Code::FailedPrecondition,
                ErrorReason::DepartmentClosed,
                "the department is closed: it is no longer in the server's configuration",
            ),
            DepartmentError::SetAside => Self::set_aside(),
        }
    }
}

fn no_queue() -> ApiError {
    ApiError::new(
        Code::NotFound,
        ErrorReason::QueueNotFound,
        "the queue does not exist; create it with CreateQueue",
    )
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
            UpdateQueueError::NotFound => no_queue(),
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
            DeleteQueueError::NotFound => no_queue(),
            DeleteQueueError::RevisionMismatch(revision) => etag_mismatch(revision),
            DeleteQueueError::RequestIdReused => request_id_reused(),
        }
    }
}

impl From<PurgeQueueError> for ApiError {
    fn from(error: PurgeQueueError) -> Self {
        match error {
            PurgeQueueError::Department(why) => why.into(),
            PurgeQueueError::NotFound => no_queue(),
            PurgeQueueError::RequestIdReused => request_id_reused(),
        }
    }
}
