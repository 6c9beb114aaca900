//! The load of `echo` and `bare`: connections with one stream each, with a fixed number of frames in flight.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use posthouse::bench::latency::{self, histogram};
use posthouse_proto::v1::{
    NewMessage, PublishStreamRequest,
    publish_stream_request::{Batch, Frame},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::LimitLoad;
use crate::{load::payload::Payloads, row::Row};

/// The frames that a stream sends.
pub type Frames = ReceiverStream<PublishStreamRequest>;

/// The answer of a server to a frame.
pub trait Answer: Send + Sync + Sized + 'static {
    /// Opens a stream that returns answers of this kind.
    fn open(channel: Channel, frames: Frames) -> impl Future<Output = Result<Streaming<Self>>> + Send;

    /// The id of the answered batch, and the number of its messages that are answered.
    fn answered(&self) -> Option<(u64, usize)>;
}

/// The time in which answers are counted.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Start of the span.
    pub from: Instant,
    /// End of the span.
    pub until: Instant,
}

/// The answers of one connection, or of all, within the span.
#[derive(Debug)]
pub struct LimitTally {
    /// Messages that were answered.
    pub messages: u64,
    /// Time from making a frame to its answer, in microseconds.
    pub latencies: Histogram<u64>,
}

/// Sends frames on one connection until the span ends, then waits for the outstanding answers.
pub async fn run<A: Answer>(channel: Channel, load: LimitLoad, span: Span) -> Result<LimitTally> {
    let max_in_flight = (load.window / load.batch).max(1);
    let (requests, frames) = mpsc::channel(max_in_flight);
    let mut answers = A::open(channel, ReceiverStream::new(frames)).await.context("cannot open a stream")?;
    let mut payloads = Payloads::new(load.payload_bytes, Instant::now());
    let mut tally = LimitTally { messages: 0, latencies: histogram()? };
    let mut in_flight = VecDeque::with_capacity(max_in_flight);
    let mut next = 0;
    loop {
        while in_flight.len() < max_in_flight && Instant::now() < span.until {
            let now = Instant::now();
            let frame = frame(&mut payloads, now, next, load.batch);
            requests.send(frame).await.ok().context("the stream takes no more")?;
            in_flight.push_back((next, now));
            next += 1;
        }
        let Some((id, sent)) = in_flight.pop_front() else { return Ok(tally) };
        let Some(answer) = answers.message().await? else { bail!("the server ended the stream") };
        ensure!(answer.answered() == Some((id, load.batch)), "another answer than that to frame {id}");
        let now = Instant::now();
        if (span.from..span.until).contains(&now) {
            tally.messages += load.batch as u64;
            tally.latencies.saturating_record(micros(now - sent));
        }
    }
}

/// Makes the next frame of a stream. It is made when it is sent, as by a producer.
pub fn frame(payloads: &mut Payloads, now: Instant, batch_id: u64, count: usize) -> PublishStreamRequest {
    let first = batch_id * count as u64;
    let message = |number| NewMessage { payload: payloads.next(now, number), ..NewMessage::default() };
    let messages = (first..first + count as u64).map(message).collect();
    let batch = Batch { batch_id, messages, first_sequence: first, ..Batch::default() };
    PublishStreamRequest { frame: Some(Frame::Batch(batch)) }
}

/// A latency in microseconds, at least one: a row's zero means that nothing was measured.
pub fn micros(latency: Duration) -> u64 {
    latency::micros(latency).max(1)
}

/// Copies the measurements into a row.
pub fn fill(row: &mut Row, messages: u64, seconds: f64, latencies: &Histogram<u64>) {
    (row.messages, row.seconds, row.rate) = (messages, seconds, messages as f64 / seconds);
    row.p50_us = latencies.value_at_quantile(0.5) as f64;
    row.p90_us = latencies.value_at_quantile(0.9) as f64;
    row.p99_us = latencies.value_at_quantile(0.99) as f64;
    row.p999_us = latencies.value_at_quantile(0.999) as f64;
    row.max_us = latencies.max() as f64;
}
