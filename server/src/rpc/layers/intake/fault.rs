//! Why a request is not handled: what is wrong with its bytes, or with their pace.

use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::{limits, rpc::wire::status::ApiError};

/// Why no more messages come out of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client has gone away, or has ended its request within a message.
    BrokenOff,
    /// A message is larger than it may be.
    TooLarge(usize),
    /// A message says that it is compressed.
    Compressed,
    /// A unary call has more than one message.
    TooMany,
    /// A message has more elements than are decoded.
    TooManyElements,
    /// A message is not what the schema describes.
    Undecodable,
    /// The message does not come fast enough.
    TooSlow,
    /// There is no room.
    NoCapacity,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BrokenOff => ApiError::broken_off(),
            Fault::TooLarge(most) => ApiError::too_large(most),
            Fault::Undecodable => ApiError::frame(
                "a request or frame could not be decoded; send what proto/posthouse/v1 describes",
            ),
            Fault::Compressed => {
                let text = "the request is compressed in a way that the server does not read; send it plain";
                ApiError::new(Code::Unimplemented, ErrorReason::FrameInvalid, text)
            }
            Fault::TooMany => ApiError::frame("a unary call has one message; the request has more"),
            Fault::TooManyElements => {
                let most = limits::MAX_ELEMENTS;
                let text = format!(
                    "the request has more than {most} messages, attributes, settlements or other elements; send less at once"
                );
                ApiError::new(Code::InvalidArgument, ErrorReason::BatchInvalid, text).with_limit(most)
            }
            Fault::TooSlow => {
                let (idle, whole) = (limits::BODY_IDLE.as_secs(), limits::BODY_DEADLINE.as_secs());
                let rate = limits::LEAST_BODY_BYTES_PER_SECOND;
                let text = format!(
                    "the request did not come in time: nothing of it for {idle} s, or not all of it in {whole} s and its \
                     length divided by {rate} bytes a second; send it without a pause"
                );
                ApiError::new(Code::DeadlineExceeded, ErrorReason::RequestTooSlow, text)
            }
            Fault::NoCapacity => ApiError::no_capacity(),
        }
    }
}
