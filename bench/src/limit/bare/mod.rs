//! The limit `bare`: a server that stores what a publish stream carries and answers when it is on disk. It checks no
//! token and serves no consumer.

mod writer;

use std::path::Path;

use anyhow::Result;
use posthouse_proto::{
    split_body,
    v1::{
        PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
        publish_stream_request::Frame,
        publish_stream_response::{self as response, BatchResult, Results},
        publisher_client::PublisherClient,
        publisher_server::{Publisher, PublisherServer},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use tower::ServiceExt as _;

use super::{
    door::MAX_FRAME_BYTES,
    load::{Answer, Frames},
};
use writer::{Answers, Waiting};

/// The gRPC service; it stores below this folder.
pub fn service(data: &Path) -> Result<PublisherServer<Bare>> {
    let bare = Bare { frames: writer::start(data)? };
    Ok(PublisherServer::new(bare).max_decoding_message_size(MAX_FRAME_BYTES))
}

impl Answer for PublishStreamResponse {
    async fn open(channel: Channel, frames: Frames) -> Result<Streaming<Self>> {
        let mut client =
            PublisherClient::new(channel.map_response(split_body)).max_decoding_message_size(MAX_FRAME_BYTES);
        Ok(client.publish_stream(frames).await?.into_inner())
    }

    fn answered(&self) -> Option<(u64, usize)> {
        let Some(response::Frame::BatchResult(BatchResult { batch_id, outcome })) = &self.frame else {
            return None;
        };
        let Some(response::batch_result::Outcome::Results(Results { all_stored: Some(all), .. })) = outcome
        else {
            return None;
        };
        Some((*batch_id, usize::try_from(all.count).ok()?))
    }
}

/// The service; it passes the batches of all streams to the one writer.
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
        // Unbounded, so that a client that does not read cannot block the writer; MAX_WAITING_FRAMES bounds the frames.
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(forward(request.into_inner(), self.frames.clone(), answers));
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}

/// Passes a stream's batches to the writer until the stream ends. Batches on their way are answered after that: each
/// holds a sender of the answers.
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
