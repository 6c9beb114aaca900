use std::future::Future;

use posthouse_proto::v1;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use super::request_stream::RequestStream;
use crate::connect::SplitChannel;

/// The protocol version of all streams.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// A kind of stream: the messages of its call, and the frames in them.
pub(crate) trait Protocol {
    type Request: Send + 'static;
    type Response: Send + 'static;
    /// The frame in a request.
    type ClientFrame;
    /// The frame in a response.
    type ServerFrame;
    /// The server's first frame.
    type Opened;

    /// Makes the call.
    fn call(
        channel: SplitChannel,
        requests: Request<RequestStream<Self::Request>>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Response>>, Status>> + Send;

    fn request(frame: Self::ClientFrame) -> Self::Request;

    /// Returns `None` for a frame that this version does not know.
    fn frame(response: Self::Response) -> Option<Self::ServerFrame>;

    /// Reads the server's first frame.
    fn first(frame: Self::ServerFrame) -> First<Self::Opened>;

    fn refresh(token: v1::RefreshToken) -> Self::ClientFrame;

    /// Creates the span for opening a stream.
    fn span(queue: &str) -> Span;
}

/// What the server's first frame means for any stream.
#[derive(Debug)]
pub(crate) enum First<O> {
    Opened { protocol_version: u32, queue_uid: String, opened: O },
    Drain,
    Other,
}
