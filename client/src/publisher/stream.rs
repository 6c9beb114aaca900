use posthouse_proto::v1::{
    PublishStreamRequest, PublishStreamResponse, RefreshToken, publish_stream_request as request,
    publish_stream_response as response, publisher_client::PublisherClient,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use crate::{
    connect::{MAX_FRAME_BYTES, SplitChannel},
    error::Error,
    stream::{First, PROTOCOL_VERSION, Protocol, RequestStream, Stream, StreamTarget},
};

pub(super) type PublishStream = Stream<Publishing>;

/// The messages of the call `PublishStream`.
pub(super) enum Publishing {}

/// What every stream of a publisher is opened with.
#[derive(Clone, Debug)]
pub(super) struct ProducerSession {
    pub(super) target: StreamTarget,
    pub(super) producer_id: [u8; 16],
    pub(super) epoch: u64,
    /// Frames that may wait for the transport; the task never has more.
    pub(super) capacity: usize,
    pub(super) return_message_ids: bool,
}

impl ProducerSession {
    pub(super) async fn open(&self, hint: Option<&str>) -> Result<PublishStream, Error> {
        let producer = request::Producer { producer_id: self.producer_id.to_vec().into(), epoch: self.epoch };
        let open = request::Frame::Open(request::Open {
            protocol_version: PROTOCOL_VERSION,
            queue: self.target.queue.clone(),
            producer: Some(producer),
            tell_message_ids: self.return_message_ids,
        });
        Stream::open(&self.target, hint, self.capacity, open).await
    }
}

impl Protocol for Publishing {
    type Request = PublishStreamRequest;
    type Response = PublishStreamResponse;
    type ClientFrame = request::Frame;
    type ServerFrame = response::Frame;
    type Opened = response::Opened;

    async fn call(
        channel: SplitChannel,
        requests: Request<RequestStream<PublishStreamRequest>>,
    ) -> Result<Response<Streaming<PublishStreamResponse>>, Status> {
        PublisherClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .publish_stream(requests)
            .await
    }

    fn request(frame: request::Frame) -> PublishStreamRequest {
        PublishStreamRequest { frame: Some(frame) }
    }

    fn frame(response: PublishStreamResponse) -> Option<response::Frame> {
        response.frame
    }

    fn first(frame: response::Frame) -> First<response::Opened> {
        match frame {
            response::Frame::Opened(opened) => First::Opened {
                protocol_version: opened.protocol_version,
                queue_uid: opened.queue_uid.clone(),
                opened,
            },
            response::Frame::Drain(_) => First::Drain,
            _ => First::Other,
        }
    }

    fn refresh(token: RefreshToken) -> request::Frame {
        request::Frame::RefreshToken(token)
    }

    fn span(queue: &str) -> Span {
        tracing::debug_span!("posthouse.open_publish_stream", queue)
    }
}
