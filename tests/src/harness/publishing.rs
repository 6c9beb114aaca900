//! A publish stream, frame by frame.

use posthouse_proto::v1::{
    NewMessage, PublishStreamRequest, PublishStreamResponse,
    publish_stream_request::{Batch, Frame, Open, Producer},
    publish_stream_response::{self as out, BatchResult, Opened},
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::{PATIENCE, wire::Caller};

/// An open stream.
pub struct PublishStream {
    frames: Option<mpsc::Sender<PublishStreamRequest>>,
    answers: Streaming<PublishStreamResponse>,
    /// The server's first frame.
    pub opened: Opened,
}

/// The first frame of a stream.
pub fn open(queue: &str, producer: Option<Producer>) -> Open {
    Open { protocol_version: 1, queue: queue.to_owned(), producer, ..Open::default() }
}

/// A batch of these messages.
pub fn batch(batch_id: u64, messages: Vec<NewMessage>) -> Batch {
    Batch { batch_id, messages, ..Batch::default() }
}

impl PublishStream {
    /// Opens a stream, which must succeed.
    pub async fn open(caller: &Caller, open: Open) -> Self {
        Self::try_open(caller, open).await.unwrap()
    }

    /// Opens a stream.
    pub async fn try_open(caller: &Caller, open: Open) -> Result<Self, Status> {
        let mut stream = Self::begin(caller, Frame::Open(open)).await?;
        match stream.next().await? {
            Some(out::Frame::Opened(opened)) => stream.opened = opened,
            other => panic!("the stream begins with {other:?}"),
        }
        Ok(stream)
    }

    /// Begins a stream with any frame, without waiting for an answer.
    pub async fn begin(caller: &Caller, first: Frame) -> Result<Self, Status> {
        let (frames, requests) = mpsc::channel(16);
        frames.send(PublishStreamRequest { frame: Some(first) }).await.unwrap();
        let request = caller.request(ReceiverStream::new(requests));
        let answers = caller.publisher().publish_stream(request).await?.into_inner();
        Ok(Self { frames: Some(frames), answers, opened: Opened::default() })
    }

    /// Sends a frame, or an empty one.
    pub async fn send(&self, frame: Option<Frame>) {
        self.frames.as_ref().unwrap().send(PublishStreamRequest { frame }).await.unwrap();
    }

    /// The next frame; `None` if the server ended the stream cleanly.
    pub async fn next(&mut self) -> Result<Option<out::Frame>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.next()).await;
        Ok(next.expect("the stream is silent").transpose()?.map(|answer| answer.frame.unwrap()))
    }

    /// Sends a batch and waits for its answer.
    pub async fn publish(&mut self, batch: Batch) -> BatchResult {
        let id = batch.batch_id;
        self.send(Some(Frame::Batch(batch))).await;
        match self.next().await.unwrap() {
            Some(out::Frame::BatchResult(result)) if result.batch_id == id => result,
            other => panic!("instead of the answer to batch {id}: {other:?}"),
        }
    }

    /// Waits for the end of the stream and ignores other frames.
    pub async fn end(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Ends the client's side.
    pub fn half_close(&mut self) {
        self.frames = None;
    }
}
