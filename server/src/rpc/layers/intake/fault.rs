//! The faults of requests that are found before their handlers see them.

use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::{limits, rpc::wire::status::ApiError};

/// Why the body of a request yields no further message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestFault {
    /// The client has disconnected, or has ended its request within a message.
    BrokenOff,
    /// A message has more than so many bytes.
    TooLarge(usize),
    /// A message says that it is compressed.
    Compressed,
    /// A unary call has more than one message.
    TooMany,
    /// A message has more elements than the server decodes.
    TooManyElements,
    /// A message is not what the schema describes.
    Undecodable,
    /// A message does not arrive fast enough.
    TooSlow,
    /// The account has had no capacity for the request in time.
    NoCapacity,
}

impl From<RequestFault> for ApiError {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::BrokenOff => ApiError::broken_off(),
            RequestFault::TooLarge(max_bytes) => ApiError::too_large(max_bytes),
            RequestFault::Undecodable => ApiError::frame(
                "a request or frame could not be decoded; send what proto/posthouse/v1 describes",
            ),
            RequestFault::Compressed => ApiError::compressed(),
            RequestFault::TooMany => ApiError::frame("a unary call has one message; the request has more"),
            RequestFault::TooManyElements => {
                let max = limits::MAX_ELEMENTS;
                let text = format!(
                    "the request has more than {max} messages, attributes, settlements or other elements; \
                     send less at once"
                );
                ApiError::new(Code::InvalidArgument, ErrorReason::BatchInvalid, text).with_limit(max)
            }
            RequestFault::TooSlow => {
                let (idle, whole) = (limits::BODY_IDLE.as_secs(), limits::BODY_DEADLINE.as_secs());
                let rate = limits::LEAST_BODY_BYTES_PER_SECOND;
                let text = format!(
                    "the request did not come in time: nothing of it for {idle} s, or not all of it in {whole} s \
                     and its length divided by {rate} bytes a second; send it without a pause"
                );
                ApiError::new(Code::DeadlineExceeded, ErrorReason::RequestTooSlow, text)
            }
            RequestFault::NoCapacity => ApiError::no_capacity(),
        }
    }
}
