//! Ends of calls: what clients receive, and what is released.

mod consuming;
mod draining;
mod publishing;
mod receiving;
mod sessions;
mod windows;

use bytes::{Buf, Bytes, BytesMut};
use posthouse_proto::v1::{
    ConsumeRequest, ConsumeResponse, Delivery, OpenConsume, SettleAction, SettleFrame, SubscriptionSettings,
    consume_request, consume_response,
};
use posthouse_tests::harness::{
    http2::{Frame, Http2, data, message},
    scene::{Scene, settlement},
    stream::open,
};
use prost::Message;

const CONSUME: &str = "/posthouse.v1.Consumer/Consume";
/// The only stream of a connection.
const CALL: u32 = 1;
/// The length and flag before a message.
const PREFIX_BYTES: usize = 5;

/// A call on a connection of its own, which sends nothing by itself.
struct Raw {
    http: Http2,
    /// The received part of the answer that is not decoded yet.
    answer: BytesMut,
}

impl Raw {
    async fn connect(scene: &Scene) -> Self {
        let http = Http2::connect(&scene.site, &scene.credentials).await;
        Self { http, answer: BytesMut::new() }
    }

    /// Opens a consume stream.
    async fn consume(scene: &Scene, open: OpenConsume) -> Self {
        let mut raw = Self::connect(scene).await;
        let head = raw.http.head(CALL, CONSUME, &[]);
        raw.http.send(&[head, consuming(consume_request::Frame::Open(open))]).await;
        let opened = raw.next().await;
        assert!(matches!(opened, Some(consume_response::Frame::Opened(_))), "{opened:?}");
        raw
    }

    /// The next message of the answer; `None` at its end.
    async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some(mut head) = self.answer.get(1..PREFIX_BYTES) {
                let whole = PREFIX_BYTES + head.get_u32() as usize;
                if self.answer.len() >= whole {
                    return Some(self.answer.split_to(whole).freeze().slice(PREFIX_BYTES..));
                }
            }
            match self.http.next().await {
                Frame::Data(CALL, bytes, _) => self.answer.extend(bytes),
                Frame::Head(CALL, true) | Frame::Reset(CALL, _) | Frame::Closed => return None,
                _ => {}
            }
        }
    }

    /// The next frame of a consume stream that is not a heartbeat.
    async fn next(&mut self) -> Option<consume_response::Frame> {
        loop {
            match ConsumeResponse::decode(self.message().await?).unwrap().frame.unwrap() {
                consume_response::Frame::Heartbeat(_) => {}
                frame => return Some(frame),
            }
        }
    }

    /// Receives this many deliveries.
    async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut found = Vec::new();
        while found.len() < count {
            match self.next().await {
                Some(consume_response::Frame::Deliveries(batch)) => found.extend(batch.deliveries),
                Some(_) => {}
                None => panic!("the stream ended after {} of {count} deliveries", found.len()),
            }
        }
        found
    }
}

/// A frame of a consume stream, whole.
fn consuming(frame: consume_request::Frame) -> Bytes {
    data(CALL, &message(&ConsumeRequest { frame: Some(frame) }), false)
}

/// The frame that acks a delivery.
fn ack(delivery: &Delivery) -> Bytes {
    let settlements = vec![settlement(delivery, SettleAction::Ack)];
    consuming(consume_request::Frame::Settle(SettleFrame { settle_id: 1, settlements }))
}

/// An open frame with the queue's own lease duration.
fn brief(queue: &str, session: [u8; 16], credits: u32) -> OpenConsume {
    OpenConsume { lease_duration: None, ..open(queue, session, credits) }
}

/// A queue that dead-letters messages after three attempts, and its dead-letter queue.
async fn short_queue(scene: &Scene, name: &str) -> (String, String) {
    let letters = scene.plain_queue(&format!("{name}-letters")).await;
    let settings = SubscriptionSettings {
        max_attempts: 3,
        lease_duration: posthouse_tests::harness::scene::wire(posthouse_tests::harness::scene::SHORT),
        dead_letter_queue: letters.clone(),
    };
    (scene.queue(name, settings).await, letters)
}
