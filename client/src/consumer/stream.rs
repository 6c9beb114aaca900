use std::time::Duration;

use posthouse_proto::v1::{
    self, ConsumeRequest, ConsumeResponse, consume_request as request, consume_response as response,
    consumer_client::ConsumerClient,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use crate::{
    connect::{MAX_FRAME_BYTES, SplitChannel},
    error::Error,
    stream::{First, PROTOCOL_VERSION, Protocol, RequestStream, Stream, StreamTarget},
    time,
};

/// Frames that may wait for the transport. Settle and extend frames in flight are few, and credits are bounded, so that
/// this is full only when the transport is stuck.
const FRAMES_QUEUED: usize = 64;

pub(super) type ConsumeStream = Stream<Consuming>;

/// The messages of the call `Consume`.
pub(super) enum Consuming {}

/// What every stream of a consumer is opened with.
#[derive(Clone, Debug)]
pub(super) struct ConsumerSession {
    pub(super) target: StreamTarget,
    pub(super) subscription: String,
    pub(super) session_id: [u8; 16],
    pub(super) lease_duration: Option<Duration>,
}

impl ConsumerSession {
    pub(super) async fn open(&self, credit: v1::Credit, hint: Option<&str>) -> Result<ConsumeStream, Error> {
        let open = request::Frame::Open(v1::OpenConsume {
            protocol_version: PROTOCOL_VERSION,
            queue: self.target.queue.clone(),
            subscription: self.subscription.clone(),
            session_id: self.session_id.to_vec().into(),
            lease_duration: self.lease_duration.map(time::to_wire),
            credit: Some(credit),
        });
        Stream::open(&self.target, hint, FRAMES_QUEUED, open).await
    }
}

impl Protocol for Consuming {
    type Request = ConsumeRequest;
    type Response = ConsumeResponse;
    type ClientFrame = request::Frame;
    type ServerFrame = response::Frame;
    type Opened = v1::ConsumeOpened;

    async fn call(
        channel: SplitChannel,
        requests: Request<RequestStream<ConsumeRequest>>,
    ) -> Result<Response<Streaming<ConsumeResponse>>, Status> {
        ConsumerClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES).consume(requests).await
    }

    fn request(frame: request::Frame) -> ConsumeRequest {
        ConsumeRequest { frame: Some(frame) }
    }

    fn frame(response: ConsumeResponse) -> Option<response::Frame> {
        response.frame
    }

    fn first(frame: response::Frame) -> First<v1::ConsumeOpened> {
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

    fn refresh(token: v1::RefreshToken) -> request::Frame {
        request::Frame::RefreshToken(token)
    }

    fn span(queue: &str) -> Span {
        tracing::debug_span!("posthouse.open_consume_stream", queue)
    }
}
