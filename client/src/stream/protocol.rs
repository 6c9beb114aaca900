use std::future::Future;

use posthouse_proto::v1;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use super::request_stream::RequestStream;
use crate::connect::SplitChannel;

/// The version that every stream is opened with.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// A kind of stream: its messages, and the frames in them.
pub(crate) trait Protocol {
    type Request: Send + 'static;
    type Response: Send + 'static;
    /// What is in a request.
    type ClientFrame;
    /// What is in a response.
    type ServerFrame;
    /// The server's first frame.
    type Opened;

    /// Makes the call.
    fn call(
        channel: SplitChannel,
        requests: Request<RequestStream<Self::Request>>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Response>>, Status>> + Send;

    fn request(frame: Self::ClientFrame) -> Self::Request;

    /// `None`: a frame that this version does not know.
    fn frame(response: Self::Response) -> Option<Self::ServerFrame>;

    /// What the server's first frame says.
    fn first(frame: Self::ServerFrame) -> First<Self::Opened>;

    fn refresh(token: v1::RefreshToken) -> Self::ClientFrame;

    /// A span for the opening of a stream.
    fn span(queue: &str) -> Span;
}

/// The server's first frame, for what all streams do about it.
#[derive(Debug)]
pub(crate) enum First<O> {
    Opened { protocol_version: u32, queue_uid: String, opened: O },
    Drain,
    Other,
}
