//! Makes deliveries of leases: their bodies are read, a few at a time, and put into frames.

use std::collections::VecDeque;

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::DeliveryBatch;

use crate::{
    bodies,
    clock::Now,
    dispatch::Leased,
    limits::MAX_ACCESS_RANGES,
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

/// Bytes of one frame of deliveries; one larger message has a frame of its own.
const FRAME_BYTES: usize = 1 << 20;
/// Bodies of the first read. The further reads adapt to the size of the bodies, within these bounds.
const FIRST_READ: usize = 16;
const MIN_READ: usize = 4;
const MAX_READ: usize = 512;
/// Bytes of bodies in the current reads of all streams of a tenant, unless each stream's share is below the minimum.
const BYTES_OF_ALL_STREAMS: usize = 16 << 20;
const MIN_READ_BYTES: usize = 64 << 10;

/// Leases whose bodies are not read yet. They are small, whatever the size of the messages.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Each lease, and whether an earlier stream of the session had it.
    leased: VecDeque<(Leased, bool)>,
    /// Bodies of the next read.
    next_read: usize,
    /// Mean bytes of a delivery in the last read; 0 before the first.
    delivery_bytes: usize,
}

/// A frame of deliveries.
#[derive(Debug)]
pub(crate) struct DeliveryFrame {
    pub(crate) batch: DeliveryBatch,
    /// Those of its leases that the session got on this stream.
    pub(crate) leases: Vec<LiveDelivery>,
    /// Bytes on the wire.
    pub(crate) bytes: usize,
}

/// The result of one read.
#[derive(Debug, Default)]
pub(crate) struct ReadDeliveries {
    pub(crate) frames: Vec<DeliveryFrame>,
    /// How many leases were read, those of purged messages included.
    pub(crate) count: usize,
    /// Leases whose message was purged meanwhile.
    pub(crate) purged: Vec<Leased>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { leased: VecDeque::new(), next_read: FIRST_READ, delivery_bytes: 0 }
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

    /// Ends the backlog, and returns the leases that the session got on this stream.
    pub(crate) fn unread(self) -> impl Iterator<Item = LiveDelivery> {
        self.leased.into_iter().filter(|(_, resumed)| !resumed).map(|(leased, _)| leased.live)
    }

    /// Whether leases of an earlier stream are still to be sent again.
    pub(crate) fn is_resuming(&self) -> bool {
        self.leased.front().is_some_and(|(_, resumed)| *resumed)
    }

    /// How many leases the next read reads.
    pub(crate) fn next(&self) -> usize {
        self.next_read.min(self.leased.len())
    }

    /// About how many bytes the next read reads, as far as they are known.
    pub(crate) fn next_bytes(&self, context: &Context, source: &Source) -> Result<usize, ApiError> {
        let max = max_read_bytes(context, source)?;
        let known =
            self.leased.iter().take(self.next()).map(|(leased, _)| leased.size as usize).sum::<usize>();
        let min = MIN_READ.min(self.leased.len()) * self.delivery_bytes;
        Ok(known.max(min).min(max.max(min)))
    }

    /// Removes the leases that no stream has sent, so that they are returned.
    pub(crate) fn remove_unsent(&mut self) -> Vec<Leased> {
        let (resumed, unsent): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.leased).into_iter().partition(|(_, resumed)| *resumed);
        self.leased = resumed;
        unsent.into_iter().map(|(leased, _)| leased).collect()
    }

    /// Reads some bodies. Where deliveries are recorded, it reads no more than the `slots` can record.
    pub(crate) async fn read(
        &mut self,
        context: &Context,
        source: &Source,
        slots: Option<RecordSlot>,
    ) -> Result<ReadDeliveries, ApiError> {
        let recordable = slots.as_ref().map_or(usize::MAX, |slots| slots.num_permits() * MAX_ACCESS_RANGES);
        let some = self.leased.iter().take(self.next_read.min(recordable));
        let sequences: Vec<u64> = some.map(|(leased, _)| leased.live.item.sequence).collect();
        let max_bytes = max_read_bytes(context, source)?;
        let amount = Amount { body_bytes: self.delivery_bytes, max_bytes };
        let bodies = match read_bodies(context, source, &sequences, amount).await {
            Ok(bodies) => bodies,
            Err(error) => {
                // The first body cannot be read. Its lease is not returned, so that it ends as a failed attempt: after
                // its last attempt the message is no longer delivered.
                self.leased.pop_front();
                return Err(error);
            }
        };
        let mut read = ReadDeliveries { count: bodies.len(), ..ReadDeliveries::default() };
        let now = context.clock.now();
        let mut deliveries = Vec::with_capacity(bodies.len());
        for ((leased, resumed), body) in self.leased.drain(..read.count).zip(bodies) {
            match body {
                Some(body) => deliveries.push(delivery(source, &leased.live, body, resumed)),
                None => read.purged.push(leased),
            }
        }
        telemetry::delivered(&context.observer, &source.permit, &deliveries, now, slots);
        let sum = put_into_frames(deliveries, now, &mut read.frames);
        if let Some(bytes) = sum.checked_div(read.count - read.purged.len()) {
            self.delivery_bytes = bytes;
            self.next_read = next_read(self.next_read, bytes, max_bytes);
        }
        Ok(read)
    }
}

/// Puts deliveries into frames, resumed and new ones into different frames, and returns their bytes.
fn put_into_frames(deliveries: Vec<LeasedMessage>, now: Now, frames: &mut Vec<DeliveryFrame>) -> usize {
    let (mut current, mut bytes, mut sum) = (Vec::<LeasedMessage>::with_capacity(deliveries.len()), 0, 0);
    for delivery in deliveries {
        let size = delivery.encoded_len(now);
        let begins_frame =
            |last: &LeasedMessage| bytes + size > FRAME_BYTES || last.resumed != delivery.resumed;
        if current.last().is_some_and(begins_frame) {
            frames.push(frame(std::mem::take(&mut current), now, bytes));
            bytes = 0;
        }
        current.push(delivery);
        (bytes, sum) = (bytes + size, sum + size);
    }
    if !current.is_empty() {
        frames.push(frame(current, now, bytes));
    }
    sum
}

fn frame(deliveries: Vec<LeasedMessage>, now: Now, bytes: usize) -> DeliveryFrame {
    let new = deliveries.iter().filter(|delivery| !delivery.resumed).map(|delivery| delivery.live);
    let leases = new.collect();
    DeliveryFrame { batch: batch(deliveries, now), leases, bytes }
}

/// Bytes after which a read of a stream ends, while its tenant has as many streams as now.
fn max_read_bytes(context: &Context, source: &Source) -> Result<usize, ApiError> {
    let streams = context.quota(&source.permit.queue().tenant)?.streams_with_tokens();
    Ok(bytes_of_a_stream(usize::try_from(streams).unwrap_or(usize::MAX)))
}

/// Bytes after which a read of a stream ends, if its tenant has so many streams. Each of them may hold a few reads for
/// a client that does not read.
fn bytes_of_a_stream(streams: usize) -> usize {
    (BYTES_OF_ALL_STREAMS / streams.max(1)).clamp(MIN_READ_BYTES, FRAME_BYTES)
}

/// Bodies of the next read: as many of the size of the last ones as have `max_bytes`, and at most twice as many as in
/// the last read.
fn next_read(last: usize, delivery_bytes: usize, max_bytes: usize) -> usize {
    (max_bytes / delivery_bytes.max(1)).clamp(MIN_READ, (last * 2).clamp(MIN_READ, MAX_READ))
}

/// The deliveries of these leases up to the first whose body cannot be read, and how many leases that are. It leaves
/// out messages that were purged since: their leases are lost.
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
    let missing = bodies.iter().filter(|body| body.is_none()).count();
    if missing > 0 {
        // If nobody has purged the queue, the store has lost rows, which an operator must learn of.
        let queue = source.permit.queue();
        tracing::warn!(missing, %queue, "leased messages are gone: was the queue purged just now?");
    }
    Ok(bodies)
}

fn delivery(source: &Source, live: &LiveDelivery, body: bodies::Body, resumed: bool) -> LeasedMessage {
    LeasedMessage::new(source.at.queue, source.permit.queue(), live, body, resumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bodies of successive reads if all deliveries have this size.
    fn reads(delivery_bytes: usize) -> Vec<usize> {
        std::iter::successors(Some(FIRST_READ), |last| Some(next_read(*last, delivery_bytes, FRAME_BYTES)))
            .take(9)
            .collect()
    }

    #[test]
    fn as_many_are_read_as_fill_a_frame_whether_they_come_one_by_one_or_not() {
        assert_eq!(reads(1_100), [16, 32, 64, 128, 256, 512, 512, 512, 512]);
        assert_eq!(reads(4 << 10), [16, 32, 64, 128, 256, 256, 256, 256, 256]);
        // Reads of single bodies of this size once made the next read one of 512.
        assert_eq!(reads(300 << 10)[1..], [4; 8]);
        assert_eq!(reads(0).last(), Some(&MAX_READ));
        assert_eq!(next_read(MAX_READ, 4 << 20, FRAME_BYTES), MIN_READ);
    }

    #[test]
    fn many_streams_read_less_each() {
        let kib: Vec<_> = [0, 1, 16, 64, 512].map(|streams| bytes_of_a_stream(streams) >> 10).into();
        assert_eq!(kib, [1_024, 1_024, 1_024, 256, 64]);
    }
}
