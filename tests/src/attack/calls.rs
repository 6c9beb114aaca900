//! The heads and bodies of calls, as bytes.

use std::time::Duration;

use bytes::Bytes;
use posthouse::dev::SERVER_NAME;
use posthouse_proto::v1;

use super::target::Target;
use crate::harness::{
    frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, literal, message, text},
    scene::wire,
};

pub(super) const HEALTH: &str = "/grpc.health.v1.Health/Check";
pub(super) const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(super) const PUBLISH: &str = "/posthouse.v1.Publisher/Publish";
pub(super) const PUBLISH_STREAM: &str = "/posthouse.v1.Publisher/PublishStream";
pub(super) const CONSUME: &str = "/posthouse.v1.Consumer/Consume";
pub(super) const RECEIVE: &str = "/posthouse.v1.Consumer/Receive";
pub(super) const SETTLE: &str = "/posthouse.v1.Consumer/Settle";
pub(super) const EXTEND: &str = "/posthouse.v1.Consumer/ExtendLeases";
pub(super) const CREATE_QUEUE: &str = "/posthouse.v1.Queues/CreateQueue";
pub(super) const GET_QUEUE: &str = "/posthouse.v1.Queues/GetQueue";
pub(super) const LIST_QUEUES: &str = "/posthouse.v1.Queues/ListQueues";
pub(super) const LIST_DEAD_LETTERS: &str = "/posthouse.v1.Messages/ListDeadLetters";

/// The queue that attacks work on.
pub(super) const QUEUE: &str = "attacked";
/// The queue of its dead letters.
pub(super) const DEAD: &str = "attacked-dead";

/// The largest frame that every peer accepts.
const FRAME: usize = 16 << 10;

/// The headers that begin a call.
pub(super) struct Head(Vec<u8>);

impl Head {
    /// A call of a method, with or without a token.
    pub(super) fn new(path: &str, token: Option<&str>) -> Self {
        let mut block = vec![0x83, 0x86];
        literal(&mut block, 4, path);
        literal(&mut block, 1, SERVER_NAME);
        literal(&mut block, 31, "application/grpc");
        if let Some(token) = token {
            literal(&mut block, 23, &format!("Bearer {token}"));
        }
        Self(block).with("te", "trailers")
    }

    /// A call with the attacker's token.
    pub(super) fn of(target: &Target, path: &str) -> Self {
        Self::new(path, Some(&target.token))
    }

    /// Adds a header field.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(0);
        text(&mut self.0, name);
        text(&mut self.0, value);
        self
    }

    /// The encoded header fields.
    pub(super) fn block(&self) -> &[u8] {
        &self.0
    }

    /// The frames that begin a stream.
    pub(super) fn frames(&self, stream: u32, ends: bool) -> Bytes {
        let end = if ends { END_STREAM } else { 0 };
        let mut parts = self.0.chunks(FRAME);
        let first = parts.next().unwrap_or_default();
        let last = |left: usize| if left == 0 { END_HEADERS } else { 0 };
        let mut frames = frame(HEADERS, end | last(parts.len()), stream, first).to_vec();
        while let Some(part) = parts.next() {
            frames.extend(frame(CONTINUATION, last(parts.len()), stream, part));
        }
        frames.into()
    }
}

/// A gRPC message of any bytes.
pub(super) fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut whole = declared(bytes.len()).to_vec();
    whole.extend_from_slice(bytes);
    whole
}

/// The five bytes that declare a gRPC message.
pub(super) fn declared(bytes: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(bytes).unwrap().to_be_bytes();
    [0, a, b, c, d]
}

/// The first frame of a publish stream.
pub(super) fn open_publish() -> Bytes {
    let open = v1::publish_stream_request::Open {
        protocol_version: 1,
        queue: Target::queue(QUEUE),
        ..Default::default()
    };
    let frame = Some(v1::publish_stream_request::Frame::Open(open));
    message(&v1::PublishStreamRequest { frame })
}

/// The first frame of a consume stream with this credit.
pub(super) fn open_consume(session: [u8; 16], credit: u32) -> Bytes {
    let open = crate::harness::stream::open(&Target::queue(QUEUE), session, credit);
    message(&v1::ConsumeRequest { frame: Some(v1::consume_request::Frame::Open(open)) })
}

/// The body of a call for the attacker's own queue.
pub(super) fn get_queue_body() -> Bytes {
    message(&v1::GetQueueRequest { name: Target::queue(QUEUE) })
}

/// A publish of payloads of zeros.
pub(super) fn publish(payloads: &[usize]) -> Bytes {
    let payload = |bytes: &usize| v1::NewMessage { payload: vec![0; *bytes].into(), ..Default::default() };
    let messages = payloads.iter().map(payload).collect();
    message(&v1::PublishRequest { queue: Target::queue(QUEUE), messages, ..Default::default() })
}

/// A receive of up to `max` messages.
pub(super) fn receive(max: u32, wait: Duration, lease: Duration) -> Bytes {
    message(&v1::ReceiveRequest {
        queue: Target::queue(QUEUE),
        max_messages: max,
        wait: wire(wait),
        lease_duration: wire(lease),
        ..Default::default()
    })
}
