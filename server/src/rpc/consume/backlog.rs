//! Leases become deliveries: their bodies are read, a little at a time, and cut into frames.

use std::collections::VecDeque;

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::DeliveryBatch;

use crate::{
    bodies,
    clock::Now,
    dispatch::Leased,
    limits::MAX_ACCESS_RANGES,
    names::QueueResource,
    observe::RecordSlot,
    rpc::{
        consume::{source::Source, telemetry},
        context::Context,
        wire::{
            delivery::{LeasedMessage, batch},
            status::ApiError,
        },
    },
    store::Amount,
};

/// Bytes of one delivery frame; one larger message still goes alone.
const FRAME_BYTES: usize = 1 << 20;
/// Bodies read at once: at first, and at least and at most as their sizes turn out.
const FIRST_READ: usize = 16;
const LEAST_READ: usize = 4;
const MOST_READ: usize = 512;
/// Bytes of bodies that all streams of a tenant together read at once, unless that is less than the least for each.
const BYTES_OF_ALL_STREAMS: usize = 16 << 20;
const LEAST_BYTES: usize = 64 << 10;

/// Leases whose bodies are not read yet: small, whatever the size of the messages.
#[derive(Debug)]
pub(crate) struct Backlog {
    leased: VecDeque<(Leased, bool)>,
    read: usize,
    /// Bytes of a delivery in the last read; 0 before the first.
    delivery_bytes: usize,
}

/// A frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) batch: DeliveryBatch,
    /// Those of its leases that the session got on this stream.
    pub(crate) leases: Vec<LiveDelivery>,
    /// On the wire.
    pub(crate) bytes: usize,
}

/// Deliveries that were read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) frames: Vec<Frame>,
    /// How many leases they were.
    pub(crate) count: usize,
    /// Those whose message was purged meanwhile.
    pub(crate) gone: Vec<Leased>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { leased: VecDeque::new(), read: FIRST_READ, delivery_bytes: 0 }
    }
}

impl Backlog {
    pub(crate) fn push(&mut self, leased: Vec<Leased>, resumed: bool) {
        self.leased.extend(leased.into_iter().map(|leased| (leased, resumed)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leased.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.leased.len()
    }

    /// Ends it; what this stream was leased and has not read.
    pub(crate) fn unread(self) -> impl Iterator<Item = LiveDelivery> {
        self.leased.into_iter().filter(|(_, resumed)| !resumed).map(|(leased, _)| leased.live)
    }

    /// What an earlier stream had is not all sent again yet.
    pub(crate) fn is_resuming(&self) -> bool {
        self.leased.front().is_some_and(|(_, resumed)| *resumed)
    }

    /// How many the next read takes.
    pub(crate) fn next(&self) -> usize {
        self.read.min(self.leased.len())
    }

    /// About how many bytes the next read brings, as far as that is known.
    pub(crate) fn next_bytes(&self, context: &Context, source: &Source) -> Result<usize, ApiError> {
        let most = most_bytes(context, source)?;
        let known =
            self.leased.iter().take(self.next()).map(|(leased, _)| leased.size as usize).sum::<usize>();
        let least = LEAST_READ.min(self.leased.len()) * self.delivery_bytes;
        Ok(known.max(least).min(most.max(least)))
    }

    /// Those that no stream was ever sent: they are given back.
    pub(crate) fn take_unsent(&mut self) -> Vec<Leased> {
        let (kept, unsent): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.leased).into_iter().partition(|(_, resumed)| *resumed);
        self.leased = kept;
        unsent.into_iter().map(|(leased, _)| leased).collect()
    }

    /// Reads some; no more than can be recorded, where `places` are needed.
    pub(crate) async fn read(
        &mut self,
        context: &Context,
        source: &Source,
        slots: Option<RecordSlot>,
    ) -> Result<Read, ApiError> {
        let most = slots.as_ref().map_or(usize::MAX, |slots| slots.num_permits() * MAX_ACCESS_RANGES);
        let some = self.leased.iter().take(self.read.min(most));
        let sequences: Vec<u64> = some.map(|(leased, _)| leased.live.item.sequence).collect();
        let most_bytes = most_bytes(context, source)?;
        let amount = Amount { body_bytes: self.delivery_bytes, most_bytes };
        let bodies = match read_bodies(context, source, &sequences, amount).await {
            Ok(bodies) => bodies,
            Err(error) => {
                // The first cannot be read: it stays leased, and counts when its lease runs out, so that it is given up.
                self.leased.pop_front();
                return Err(error);
            }
        };
        let mut read = Read { count: bodies.len(), ..Read::default() };
        let now = context.clock.now();
        let mut deliveries = Vec::with_capacity(bodies.len());
        for ((leased, resumed), body) in self.leased.drain(..read.count).zip(bodies) {
            match body {
                Some(body) => deliveries.push(delivery(source, &leased.live, body, resumed)),
                None => read.gone.push(leased),
            }
        }
        telemetry::delivered(&context.observer, &source.permit, &deliveries, now, slots);
        let sum = cut(deliveries, now, &mut read.frames);
        if let Some(bytes) = sum.checked_div(read.count - read.gone.len()) {
            self.delivery_bytes = bytes;
            self.read = next_read(self.read, bytes, most_bytes);
        }
        Ok(read)
    }
}

/// Puts deliveries into frames, those that are resumed and those that are new into different ones; how many bytes they are.
fn cut(deliveries: Vec<LeasedMessage>, now: Now, frames: &mut Vec<Frame>) -> usize {
    let (mut cut, mut bytes, mut sum) = (Vec::<LeasedMessage>::with_capacity(deliveries.len()), 0, 0);
    for delivery in deliveries {
        let size = delivery.encoded_len(now);
        let other = |last: &LeasedMessage| bytes + size > FRAME_BYTES || last.resumed != delivery.resumed;
        if cut.last().is_some_and(other) {
            frames.push(frame(std::mem::take(&mut cut), now, bytes));
            bytes = 0;
        }
        cut.push(delivery);
        (bytes, sum) = (bytes + size, sum + size);
    }
    if !cut.is_empty() {
        frames.push(frame(cut, now, bytes));
    }
    sum
}

/// One frame of these, and the leases that are new in it.
fn frame(deliveries: Vec<LeasedMessage>, now: Now, bytes: usize) -> Frame {
    let new = deliveries.iter().filter(|delivery| !delivery.resumed).map(|delivery| delivery.live);
    let leases = new.collect();
    Frame { batch: batch(deliveries, now), leases, bytes }
}

/// Bytes of bodies that a stream reads at once, while its tenant has so many streams.
fn most_bytes(context: &Context, source: &Source) -> Result<usize, ApiError> {
    let streams = context.quota(&source.permit.queue().tenant)?.streams_with_tokens();
    Ok(bytes_of_a_stream(usize::try_from(streams).unwrap_or(usize::MAX)))
}

/// Bytes after which a stream reads no more bodies at once, while its tenant has so many: each holds a few reads for a
/// client that does not take them.
fn bytes_of_a_stream(streams: usize) -> usize {
    (BYTES_OF_ALL_STREAMS / streams.max(1)).clamp(LEAST_BYTES, FRAME_BYTES)
}

/// How many bodies are read next, after at most so many of so many bytes each: many small ones or few large ones, as are
/// read at once.
fn next_read(last: usize, delivery_bytes: usize, most_bytes: usize) -> usize {
    (most_bytes / delivery_bytes.max(1)).clamp(LEAST_READ, (last * 2).clamp(LEAST_READ, MOST_READ))
}

/// Leases with their bodies, up to the first that cannot be read, and how many those are. A message that was purged since is left
/// out: its lease is lost anyway.
pub(crate) async fn deliveries(
    context: &Context,
    source: &Source,
    live: &[LiveDelivery],
) -> Result<(Vec<LeasedMessage>, usize), ApiError> {
    let sequences: Vec<u64> = live.iter().map(|l| l.item.sequence).collect();
    let bodies = read_bodies(context, source, &sequences, Amount::ALL).await?;
    let read = bodies.len();
    let pairs = live.iter().zip(bodies);
    Ok((pairs.filter_map(|(live, body)| Some(delivery(source, live, body?, false))).collect(), read))
}

async fn read_bodies(
    context: &Context,
    source: &Source,
    sequences: &[u64],
    amount: Amount,
) -> Result<Vec<Option<bodies::Body>>, ApiError> {
    let bodies =
        bodies::read(&context.bodies, &context.store, source.at, sequences, amount).await.map_err(|why| {
            tracing::error!(%why, "check the disk, and restore the data folder from a backup if it is damaged");
            ApiError::internal()
        })?;
    let gone = bodies.iter().filter(|body| body.is_none()).count();
    if gone > 0 {
        // Told apart by whether somebody purged; a store that loses rows must not do it in silence.
        tracing::warn!(gone, queue = %source.permit.queue(), "leased messages are gone: was the queue purged just now?");
    }
    Ok(bodies)
}

fn delivery(source: &Source, live: &LiveDelivery, body: bodies::Body, resumed: bool) -> LeasedMessage {
    let name: &QueueResource = source.permit.queue();
    LeasedMessage::new(source.at.queue, name, live, body, resumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reads that follow each other while all deliveries are of this size.
    fn reads(delivery_bytes: usize) -> Vec<usize> {
        std::iter::successors(Some(FIRST_READ), |last| Some(next_read(*last, delivery_bytes, FRAME_BYTES)))
            .take(9)
            .collect()
    }

    #[test]
    fn as_many_are_read_as_fill_a_frame_whether_they_come_one_by_one_or_not() {
        assert_eq!(reads(1_100), [16, 32, 64, 128, 256, 512, 512, 512, 512]);
        assert_eq!(reads(4 << 10), [16, 32, 64, 128, 256, 256, 256, 256, 256]);
        // Single ones of this size once made the next read 512 of them.
        assert_eq!(reads(300 << 10)[1..], [4; 8]);
        assert_eq!(reads(0).last(), Some(&MOST_READ));
        assert_eq!(next_read(MOST_READ, 4 << 20, FRAME_BYTES), LEAST_READ);
    }

    #[test]
    fn many_streams_read_less_each() {
        let kib: Vec<_> = [0, 1, 16, 64, 512].map(|streams| bytes_of_a_stream(streams) >> 10).into();
        assert_eq!(kib, [1_024, 1_024, 1_024, 256, 64]);
    }
}
