//! The bare durable server: what comes on a publish stream is on disk when it is answered, and that is all. No token
//! is checked, nobody may consume.

mod writer;

use std::path::Path;

use anyhow::Result;
use posthouse_proto::split_body;
use posthouse_proto::v1::publish_stream_request::Frame;
use posthouse_proto::v1::publisher_client::PublisherClient;
use posthouse_proto::v1::publisher_server::{Publisher, PublisherServer};
use posthouse_proto::v1::{PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt as _;

use super::door::MAX_FRAME_BYTES;
use super::load::Frames;
use writer::{Answers, Waiting};

/// The service, with its data below this folder.
pub fn service(data: &Path) -> Result<PublisherServer<Bare>> {
    let bare = Bare { frames: writer::start(data)? };
    Ok(PublisherServer::new(bare).max_decoding_message_size(MAX_FRAME_BYTES))
}

/// Opens a stream.
pub async fn open(channel: Channel, frames: Frames) -> Result<Streaming<PublishStreamResponse>> {
    let mut client =
        PublisherClient::new(channel.map_response(split_body)).max_decoding_message_size(MAX_FRAME_BYTES);
    Ok(client.publish_stream(frames).await?.into_inner())
}

/// Hands frames to the writer.
#[derive(Debug)]
pub struct Bare {
    frames: mpsc::Sender<Waiting>,
}

#[tonic::async_trait]
impl Publisher for Bare {
    type PublishStreamStream = UnboundedReceiverStream<Result<PublishStreamResponse, Status>>;

    async fn publish(&self, _: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        Err(Status::unimplemented("only PublishStream is served"))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        // Unbounded, because the writer must not wait for one who does not read; the frames are bounded.
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(forward(request.into_inner(), self.frames.clone(), answers));
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}

/// Ends with the stream. What was handed over is answered all the same: each frame holds the answers open.
async fn forward(
    mut requests: Streaming<PublishStreamRequest>,
    frames: mpsc::Sender<Waiting>,
    answers: Answers,
) {
    loop {
        let batch = match requests.message().await {
            Ok(Some(PublishStreamRequest { frame: Some(Frame::Batch(batch)) })) => batch,
            Ok(Some(_)) => {
                let _ = answers.send(Err(Status::invalid_argument("not a batch")));
                return;
            }
            Ok(None) | Err(_) => return,
        };
        let waiting = Waiting { batch, answers: answers.clone() };
        if frames.send(waiting).await.is_err() {
            let _ = answers.send(Err(Status::unavailable("the writer has ended")));
            return;
        }
    }
}
