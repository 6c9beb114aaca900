//! Refusals that several calls or streams answer with: each text is made here and nowhere else.

use std::{fmt::Display, time::Duration};

use posthouse_proto::v1::ErrorReason;
use tonic::{Code, Status};

use crate::{limits, rpc::wire::status::ApiError};

/// The retry delay of refusals whose cause passes by itself.
const SHORT_RETRY: Duration = Duration::from_secs(1);

impl ApiError {
    /// A fault of the server: the log has the text, the caller learns only that there was a fault. The text holds
    /// nothing of a request.
    pub(crate) fn fault(text: &'static str) -> Self {
        tracing::error!(text, "internal error");
        Self::internal()
    }

    /// A frame that is not allowed where it came in its stream.
    pub(crate) fn frame(text: &'static str) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::FrameInvalid, text)
    }

    /// The client has reset its call, or its connection was closed.
    pub(crate) fn broken_off() -> Self {
        Self::new(Code::Cancelled, ErrorReason::FrameInvalid, "the client's half of the call broke off")
    }

    /// Our error for a refusal by the gRPC library, which gives no reasons; `None` for any other status.
    pub(crate) fn unexplained(status: &Status) -> Option<Self> {
        Some(match status.code() {
            Code::Internal | Code::InvalidArgument => {
                Self::frame("the request could not be decoded; send what proto/posthouse/v1 describes")
            }
            Code::OutOfRange | Code::ResourceExhausted => Self::too_large(limits::MAX_FRAME_BYTES),
            // The library's code for an error of the body that it does not know.
            Code::Unknown => Self::broken_off(),
            Code::Unimplemented if status.metadata().contains_key("grpc-accept-encoding") => {
                Self::compressed()
            }
            Code::Unimplemented => {
                let text =
                    "the server does not offer this method; use a server and a client of matching versions";
                Self::new(Code::Unimplemented, ErrorReason::MethodNotAllowed, text)
            }
            _ => return None,
        })
    }

    /// A request in an encoding that the server does not decode.
    pub(crate) fn compressed() -> Self {
        let text = "the request is compressed in a way that the server does not read; send it plain";
        Self::new(Code::Unimplemented, ErrorReason::FrameInvalid, text)
    }

    /// A request that is no gRPC call.
    pub(crate) fn no_grpc(text: &'static str) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::RequestInvalid, text)
    }

    pub(crate) fn too_large(max_bytes: usize) -> Self {
        let text = format!("a request or frame is larger than {max_bytes} bytes; send less at once");
        Self::new(Code::OutOfRange, ErrorReason::FrameInvalid, text).with_limit(max_bytes)
    }

    /// The accounts have no capacity for a request, or for the answer to a read.
    pub(crate) fn no_capacity() -> Self {
        let text = "the connection, the tenant or the server holds as many bytes of requests and unread answers \
                    as it may: nothing was done; read the answers that wait, and try again";
        Self::new(Code::ResourceExhausted, ErrorReason::ServerOverloaded, text).with_retry_delay(SHORT_RETRY)
    }

    /// `department` names it as a noun, for example "department tenants/t/departments/d".
    pub(crate) fn department_not_found(department: impl Display) -> Self {
        let text =
            format!("{department} does not exist; departments are declared in the server's configuration");
        Self::new(Code::NotFound, ErrorReason::DepartmentNotFound, text)
    }

    pub(crate) fn department_closed() -> Self {
        let text = "the department is closed: it is no longer in the server's configuration";
        Self::new(Code::FailedPrecondition, ErrorReason::DepartmentClosed, text)
    }

    /// Nothing of the department is read or changed.
    pub(crate) fn set_aside() -> Self {
        let text = "the department is set aside: its operators look at it, and nothing of it is read or changed \
                    until they open it again";
        Self::new(Code::FailedPrecondition, ErrorReason::DepartmentSetAside, text)
    }

    pub(crate) fn shard_halted() -> Self {
        let text = "the department's shard is halted after a failed check; an operator must look at the server's log";
        Self::new(Code::Unavailable, ErrorReason::ShardHalted, text)
    }

    /// `queue` names it as a noun, for example "queue tenants/t/departments/d/queues/q".
    pub(crate) fn queue_not_found(queue: impl Display) -> Self {
        let text = format!("{queue} does not exist; create it with CreateQueue");
        Self::new(Code::NotFound, ErrorReason::QueueNotFound, text)
    }

    /// The queue that a call or a stream found by its name was deleted since. Ids are never reused: a later queue of
    /// the same name is another queue.
    pub(crate) fn queue_deleted() -> Self {
        let text = "the queue was deleted; a queue that was made under its name since then is another, which has \
                    to be opened anew";
        Self::new(Code::NotFound, ErrorReason::QueueDeleted, text)
    }

    /// The server is about to stop.
    pub(crate) fn draining() -> Self {
        let text = "the server is about to stop; connect again, it or another will answer";
        Self::new(Code::Unavailable, ErrorReason::ServerDraining, text).with_retry_delay(SHORT_RETRY)
    }

    /// There is no slot for the access record of the call.
    pub(crate) fn access_not_recorded() -> Self {
        let text = "nothing was done, since there is no place for its access record: what the server's records go \
                    to takes none; try again, and have the operators look at it";
        Self::new(Code::Unavailable, ErrorReason::AccessNotRecorded, text).with_retry_delay(SHORT_RETRY)
    }
}
