//! A consume stream, frame by frame.

use posthouse_proto::v1::{
    self, ConsumeRequest, ConsumeResponse, Credit, Delivery, OpenConsume, consume_request, consume_response,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::{PATIENCE, wire::Caller};

/// An open stream.
pub struct Stream {
    frames: Option<mpsc::Sender<ConsumeRequest>>,
    answers: Streaming<ConsumeResponse>,
    /// The server's first frame.
    pub opened: v1::ConsumeOpened,
    ping: u64,
}

/// The first frame of a stream with this credit.
pub fn open(queue: &str, session: [u8; 16], credits: u32) -> OpenConsume {
    OpenConsume {
        protocol_version: 1,
        queue: queue.to_owned(),
        session_id: session.to_vec().into(),
        credit: Some(Credit { messages: credits, bytes: 0 }),
        lease_duration: super::scene::wire(super::scene::LONG),
        ..OpenConsume::default()
    }
}

impl Stream {
    /// Opens a stream, which must succeed.
    pub async fn open(caller: &Caller, open: OpenConsume) -> Self {
        Self::try_open(caller, open).await.unwrap()
    }

    /// Opens a stream.
    pub async fn try_open(caller: &Caller, open: OpenConsume) -> Result<Self, Status> {
        let (frames, requests) = mpsc::channel(16);
        let first = ConsumeRequest { frame: Some(consume_request::Frame::Open(open)) };
        frames.send(first).await.unwrap();
        let request = caller.request(ReceiverStream::new(requests));
        let answers = caller.consumer().consume(request).await?.into_inner();
        let opened = v1::ConsumeOpened::default();
        let mut stream = Self { frames: Some(frames), answers, opened, ping: 0 };
        match stream.next().await? {
            Some(consume_response::Frame::Opened(opened)) => stream.opened = opened,
            other => panic!("the stream begins with {other:?}"),
        }
        Ok(stream)
    }

    /// Sends a frame.
    pub async fn send(&self, frame: consume_request::Frame) {
        self.frames.as_ref().unwrap().send(ConsumeRequest { frame: Some(frame) }).await.unwrap();
    }

    /// The next frame that is not a heartbeat; `None` if the server ended the stream cleanly.
    pub async fn next(&mut self) -> Result<Option<consume_response::Frame>, Status> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.answers.next()).await;
            match next.expect("the stream is silent").transpose()?.map(|answer| answer.frame.unwrap()) {
                Some(consume_response::Frame::Heartbeat(_)) => {}
                frame => return Ok(frame),
            }
        }
    }

    /// Receives this many deliveries, and ignores other frames.
    pub async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut found = Vec::new();
        while found.len() < count {
            match self.next().await.unwrap() {
                Some(consume_response::Frame::Deliveries(batch)) => found.extend(batch.deliveries),
                Some(_) => {}
                None => panic!("the stream ended after {} of {count} deliveries", found.len()),
            }
        }
        found
    }

    /// All frames before the answer to a ping.
    pub async fn until_pong(&mut self) -> Vec<consume_response::Frame> {
        self.ping += 1;
        self.send(consume_request::Frame::Ping(v1::Ping { ping_id: self.ping })).await;
        let mut found = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Some(consume_response::Frame::Pong(pong)) if pong.ping_id == self.ping => return found,
                Some(frame) => found.push(frame),
                None => panic!("the stream ended instead of answering a ping"),
            }
        }
    }

    /// Waits for the end of the stream and ignores other frames.
    pub async fn end(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Ends the client's side, as a consumer does that is done.
    pub fn half_close(&mut self) {
        self.frames = None;
    }
}
