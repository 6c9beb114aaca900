//! Messages of a few bytes that become large when they are read: millions of empty elements.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Ended,
    bodies::{LARGEST, first, slots},
    calls::{
        CONSUME, CREATE_QUEUE, EXTEND, Head, LIST_QUEUES, PUBLISH, PUBLISH_STREAM, RECEIVE, SETTLE, prefixed,
    },
    line::{Line, OPEN},
    target::Target,
};

/// The concurrent calls of one connection.
const STREAMS: usize = 32;
/// The elements' bytes in a message of the largest size.
const CONTENT_BYTES: usize = LARGEST - 16;

/// The element that a message is full of.
#[derive(Clone, Copy)]
pub(super) enum Full {
    /// Messages of a publish.
    Messages,
    /// Messages of a batch of a stream.
    StreamMessages,
    /// Settlements of a call.
    Settlements,
    /// Settlements of a frame of a stream.
    StreamSettlements,
    /// Tokens of a call.
    Tokens,
    /// Tokens of a frame of a stream.
    StreamTokens,
    /// Attributes of one message, each with a key of its own.
    Attributes,
    /// The single frame of a publish stream, repeated, each with some messages.
    Frames,
    /// The single frame of a consume stream, repeated, each with some settlements.
    StreamFrames,
    /// A call's single nested message, repeated.
    Nested,
    /// Numeric fields that the method does not know.
    Unknown,
    /// Nested groups that the method does not know.
    Groups,
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        field.push(u8::try_from(length & 127 | 128).unwrap());
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend_from_slice(bytes);
    field
}

fn repeated(element: &[u8]) -> Vec<u8> {
    element.repeat(CONTENT_BYTES / element.len())
}

impl Full {
    fn path(self) -> &'static str {
        match self {
            Self::Messages | Self::Attributes => PUBLISH,
            Self::StreamMessages | Self::Frames => PUBLISH_STREAM,
            Self::Settlements => SETTLE,
            Self::StreamSettlements | Self::StreamTokens | Self::StreamFrames => CONSUME,
            Self::Tokens => EXTEND,
            Self::Nested => CREATE_QUEUE,
            Self::Unknown => RECEIVE,
            Self::Groups => LIST_QUEUES,
        }
    }

    fn message(self) -> Vec<u8> {
        match self {
            Self::Messages => repeated(&field(2, &[])),
            Self::StreamMessages => field(2, &repeated(&field(2, &[]))),
            Self::Settlements | Self::Tokens => repeated(&field(3, &[])),
            Self::StreamSettlements => field(3, &repeated(&field(2, &[]))),
            Self::StreamTokens => field(4, &repeated(&field(2, &[]))),
            Self::Attributes => {
                let mut attributes = Vec::new();
                let mut key: u32 = 0;
                while attributes.len() < CONTENT_BYTES - 16 {
                    let text = format!("{key:05x}");
                    attributes.extend(field(2, &field(1, text.as_bytes())));
                    key += 1;
                }
                field(2, &attributes)
            }
            Self::Frames => repeated(&field(2, &field(2, &[]).repeat(60))),
            Self::StreamFrames => repeated(&field(3, &field(2, &[]).repeat(60))),
            Self::Nested => repeated(&field(1, &field(7, &[]))),
            Self::Unknown => repeated(&[0xf8, 0x07, 0x00]),
            Self::Groups => repeated(&[0xfb, 0x07]),
        }
    }
}

/// Sends many such messages at once, and reads the answers.
pub(super) async fn empty_elements(target: Target, full: Full) -> Result<(), Ended> {
    let path = full.path();
    let bytes: Bytes = prefixed(&full.message()).into();
    slots(target, OPEN, STREAMS, move |line, target, _| {
        let bytes = bytes.clone();
        async move {
            let id = line.begin(&Head::of(&target, path), false).await?;
            line.body(id, &first(path), false).await?;
            line.body(id, &bytes, true).await?;
            target.tally.add(1);
            line.end(id).await.map(drop)
        }
    })
    .await
}

/// Sends small DATA frames on streams that the server does not read, because nobody reads its answers. What the server
/// keeps of a frame is larger than its bytes.
pub(super) async fn small_data(target: Target, size: usize) -> Result<(), Ended> {
    use crate::harness::frames::data;
    const FRAMES: usize = 1024;
    let payload = vec![0; size];
    slots(target, 0, 16, move |line: Arc<Line>, target, _| {
        let payload = payload.clone();
        async move {
            let id = line.begin(&Head::of(&target, PUBLISH_STREAM), false).await?;
            let mut bytes = first(PUBLISH_STREAM).to_vec();
            bytes.extend(super::answers::refused_batch().repeat(100));
            line.body(id, &bytes, false).await?;
            let one = data(id, &payload, false);
            let mut free = 0;
            loop {
                match line.acquire(id, FRAMES).await? {
                    0 => return line.end(id).await.map(drop),
                    more => free += more,
                }
                let count = free / payload.len();
                free -= count * payload.len();
                line.send(&one.repeat(count)).await?;
                target.tally.add(count as u64);
            }
        }
    })
    .await
}
