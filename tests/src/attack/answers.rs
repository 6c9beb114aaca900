//! Attacks that hold the server's memory by answers that nobody reads.

use std::time::Duration;

use bytes::Bytes;
use posthouse_proto::v1;

use super::{
    Ended,
    bodies::{SLOTS, first, slots},
    calls::{
        CONSUME, DEAD, Head, LIST_DEAD_LETTERS, LIST_QUEUES, PUBLISH_STREAM, RECEIVE, open_consume, prefixed,
        receive,
    },
    target::Target,
};
use crate::harness::frames::message;

/// The largest number of elements of a batch or a frame.
const MAX_ITEMS: usize = 1024;
/// The frames of one write.
const FRAMES: usize = 16;

/// A frame of settlements of two bytes each, all of which are refused.
fn refused_settlements() -> Bytes {
    let settle = v1::SettleFrame { settle_id: 1, settlements: vec![v1::Settlement::default(); MAX_ITEMS] };
    message(&v1::ConsumeRequest { frame: Some(v1::consume_request::Frame::Settle(settle)) })
}

/// A batch of messages, each with one empty attribute, all of which are refused.
pub(super) fn refused_batch() -> Bytes {
    let refused = || v1::NewMessage {
        attributes: [(String::new(), String::new())].into(),
        ..v1::NewMessage::default()
    };
    let messages = (0..MAX_ITEMS).map(|_| refused()).collect();
    let batch = v1::publish_stream_request::Batch { batch_id: 1, messages, ..Default::default() };
    let frame = Some(v1::publish_stream_request::Frame::Batch(batch));
    message(&v1::PublishStreamRequest { frame })
}

/// Opens streams whose frames have long answers, which are not read.
async fn unread_frames(
    target: Target,
    window: u32,
    streams: usize,
    path: &'static str,
    one: Bytes,
) -> Result<(), Ended> {
    let bytes: Bytes = one.repeat(FRAMES).into();
    slots(target, window, streams, move |line, target, _| {
        let bytes = bytes.clone();
        async move {
            let id = line.begin(&Head::of(&target, path), false).await?;
            line.body(id, &first(path), false).await?;
            while line.body(id, &bytes, false).await? == bytes.len() {
                target.tally.add(FRAMES as u64);
            }
            line.end(id).await.map(drop)
        }
    })
    .await
}

pub(super) async fn settle_errors(target: Target, window: u32, streams: usize) -> Result<(), Ended> {
    unread_frames(target, window, streams, CONSUME, refused_settlements()).await
}

pub(super) async fn publish_errors(target: Target, window: u32, streams: usize) -> Result<(), Ended> {
    unread_frames(target, window, streams, PUBLISH_STREAM, refused_batch()).await
}

/// Makes small calls with large answers, which are not read.
async fn unread_calls(target: Target, window: u32, path: &'static str, body: Bytes) -> Result<(), Ended> {
    slots(target, window, SLOTS, move |line, target, _| {
        let body = body.clone();
        async move {
            let id = line.begin(&Head::of(&target, path), false).await?;
            line.body(id, &body, true).await?;
            target.tally.add(1);
            line.end(id).await.map(drop)
        }
    })
    .await
}

pub(super) async fn receives(target: Target, window: u32) -> Result<(), Ended> {
    let body = receive(100, Duration::from_secs(5), Duration::from_secs(1));
    unread_calls(target, window, RECEIVE, body).await
}

pub(super) async fn queues(target: Target, window: u32) -> Result<(), Ended> {
    let request =
        v1::ListQueuesRequest { parent: Target::department(), page_size: 1000, ..Default::default() };
    unread_calls(target, window, LIST_QUEUES, message(&request)).await
}

pub(super) async fn dead_letters(target: Target, window: u32) -> Result<(), Ended> {
    let request =
        v1::ListDeadLettersRequest { queue: Target::queue(DEAD), page_size: 1000, ..Default::default() };
    unread_calls(target, window, LIST_DEAD_LETTERS, message(&request)).await
}

/// Opens consumers with credit for large messages that do not read them.
pub(super) async fn stalled_consumers(target: Target, streams: usize) -> Result<(), Ended> {
    slots(target, 0, streams, move |line, target, _| async move {
        let id = line.begin(&Head::of(&target, CONSUME), false).await?;
        line.body(id, &open_consume(rand::random(), 100), false).await?;
        target.tally.add(1);
        line.end(id).await.map(drop)
    })
    .await
}

/// Opens consumers without credit that ask for pongs and do not read them.
pub(super) async fn pongs(target: Target, streams: usize) -> Result<(), Ended> {
    let ping = v1::consume_request::Frame::Ping(v1::Ping { ping_id: 1 });
    let ping = message(&v1::ConsumeRequest { frame: Some(ping) });
    unread_frames(target, 0, streams, CONSUME, ping.repeat(256).into()).await
}

/// Makes health checks, which need no token, and does not read the answers.
pub(super) async fn health(target: Target) -> Result<(), Ended> {
    unread_calls(target, 0, super::calls::HEALTH, prefixed(&[]).into()).await
}
