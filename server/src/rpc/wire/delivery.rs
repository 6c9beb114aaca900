//! Leased messages and their encoding as deliveries. A leased message is smaller than a `Delivery`, is encoded once,
//! and its payload is not copied before it is written to a frame. The encoding is what prost would write of
//! [`LeasedMessage::into_delivery`], but for the order of the fields.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_engine::{ids::QueueRef, outcome::LiveDelivery};
use posthouse_proto::{
    DeliveryBatch, EncodedDeliveries,
    v1::{DeadLetter, Delivery, Message},
};
use prost::encoding::{
    WireType, bool, btree_map, encode_key, encode_varint, encoded_len_varint, key_len, message, string,
    uint32, uint64,
};
use prost_types::{Duration, Timestamp};

use crate::{
    bodies::Body,
    clock::Now,
    names::QueueResource,
    rpc::wire::convert::{self, dead_letter},
};

/// Field numbers of `DeliveryBatch`, `Delivery` and `Message`.
const DELIVERIES: u32 = 1;
const TOKEN: u32 = 1;
const MESSAGE: u32 = 2;
const ATTEMPT: u32 = 3;
const LEASE_DEADLINE: u32 = 4;
const RESUMED: u32 = 5;
const LEASE_TIME_LEFT: u32 = 6;
const ID: u32 = 1;
const SEQUENCE: u32 = 2;
const PUBLISH_TIME: u32 = 3;
const PAYLOAD: u32 = 4;
const ATTRIBUTES: u32 = 5;
const DEAD_LETTER: u32 = 6;

/// A message under a lease, which is about to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct LeasedMessage {
    pub(crate) queue: QueueRef,
    pub(crate) live: LiveDelivery,
    /// Whether it is sent again to a resumed session.
    pub(crate) resumed: bool,
    /// The stamp of the batch that published it, by which its waiting time is counted.
    pub(crate) published_at_ms: u64,
    /// The wall clock's time of that batch, which is only shown.
    pub(crate) published_wall_ms: u64,
    pub(crate) dead_letter: Option<Box<DeadLetter>>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) payload: Bytes,
}

impl LeasedMessage {
    pub(crate) fn new(
        queue: QueueRef,
        source: &QueueResource,
        live: &LiveDelivery,
        body: Body,
        resumed: bool,
    ) -> Self {
        let Body { published_at_ms, published_wall_ms, origin, attributes, payload } = body;
        let dead_letter = origin.map(|origin| Box::new(dead_letter(queue, source, *origin)));
        let live = *live;
        Self { queue, live, resumed, published_at_ms, published_wall_ms, dead_letter, attributes, payload }
    }

    /// The delivery in the schema's type, with the times as they are at `now`.
    pub(crate) fn into_delivery(self, now: Now) -> Delivery {
        let message = Message {
            id: convert::message_id(self.queue, self.live.item.sequence),
            sequence: self.live.item.sequence,
            publish_time: Some(convert::timestamp(self.published_wall_ms)),
            payload: self.payload,
            attributes: self.attributes.into_iter().collect(),
            dead_letter: self.dead_letter,
        };
        Delivery {
            token: Bytes::copy_from_slice(&convert::token(&self.live)),
            message: Some(message),
            attempt: self.live.item.attempt,
            lease_deadline: Some(convert::timestamp(now.shown_ms(self.live.deadline_ms))),
            resumed: self.resumed,
            lease_time_left: Some(convert::duration(now.left_ms(self.live.deadline_ms))),
        }
    }

    /// Bytes of the delivery on the wire, with the times as they are at `now`.
    pub(crate) fn encoded_len(&self, now: Now) -> usize {
        let (end, left) = deadline(now, self.live.deadline_ms);
        let deadline =
            message::encoded_len(LEASE_DEADLINE, &end) + message::encoded_len(LEASE_TIME_LEFT, &left);
        let published = message::encoded_len(PUBLISH_TIME, &convert::timestamp(self.published_wall_ms));
        self.lease_len(deadline) + field_len(MESSAGE, self.message_len(published))
    }

    /// Bytes of all fields but the message. The deadline and the time left have `deadline` bytes.
    fn lease_len(&self, deadline: usize) -> usize {
        let item = &self.live.item;
        field_len(TOKEN, convert::TOKEN_BYTES)
            + if item.attempt == 0 { 0 } else { uint32::encoded_len(ATTEMPT, &item.attempt) }
            + deadline
            + if self.resumed { bool::encoded_len(RESUMED, &true) } else { 0 }
    }

    /// Bytes of the message. Its publish time has `published` bytes.
    fn message_len(&self, published: usize) -> usize {
        let sequence = self.live.item.sequence;
        field_len(ID, convert::MESSAGE_ID_BYTES)
            + if sequence == 0 { 0 } else { uint64::encoded_len(SEQUENCE, &sequence) }
            + published
            + btree_map::encoded_len(string::encoded_len, string::encoded_len, ATTRIBUTES, &self.attributes)
            + self.dead_letter.as_ref().map_or(0, |dead| message::encoded_len(DEAD_LETTER, &**dead))
            + if self.payload.is_empty() { 0 } else { field_len(PAYLOAD, self.payload.len()) }
    }

    /// Writes all but the bytes of the payload, which come last. A decoder accepts the fields in any order.
    fn put_head(&self, times: &mut Times, head: &mut Vec<u8>) {
        let item = &self.live.item;
        let now = times.now;
        let deadline = times.deadline.encoded(self.live.deadline_ms, |ms, buf| {
            let (end, left) = deadline(now, ms);
            message::encode(LEASE_DEADLINE, &end, buf);
            message::encode(LEASE_TIME_LEFT, &left, buf);
        });
        let published = times.published.encoded(self.published_wall_ms, |ms, buf| {
            message::encode(PUBLISH_TIME, &convert::timestamp(ms), buf);
        });
        let message_len = self.message_len(published.len());
        begin(DELIVERIES, self.lease_len(deadline.len()) + field_len(MESSAGE, message_len), head);
        begin(TOKEN, convert::TOKEN_BYTES, head);
        head.extend_from_slice(&convert::token(&self.live));
        if item.attempt != 0 {
            uint32::encode(ATTEMPT, &item.attempt, head);
        }
        head.extend_from_slice(deadline);
        if self.resumed {
            bool::encode(RESUMED, &true, head);
        }
        begin(MESSAGE, message_len, head);
        begin(ID, convert::MESSAGE_ID_BYTES, head);
        head.extend_from_slice(&convert::message_id_text(self.queue, item.sequence));
        if item.sequence != 0 {
            uint64::encode(SEQUENCE, &item.sequence, head);
        }
        head.extend_from_slice(published);
        let (text, text_len) = (string::encode, string::encoded_len);
        btree_map::encode(text, text_len, text, text_len, ATTRIBUTES, &self.attributes, head);
        if let Some(dead) = &self.dead_letter {
            message::encode(DEAD_LETTER, &**dead, head);
        }
        if !self.payload.is_empty() {
            begin(PAYLOAD, self.payload.len(), head);
        }
    }
}

/// When a lease ends by the wall clock, and the time left until then.
fn deadline(now: Now, deadline_ms: u64) -> (Timestamp, Duration) {
    (convert::timestamp(now.shown_ms(deadline_ms)), convert::duration(now.left_ms(deadline_ms)))
}

/// The encoded times of the delivery before. The deliveries of one batch mostly have the same times.
struct Times {
    now: Now,
    deadline: EncodedTime,
    published: EncodedTime,
}

/// The last time that was encoded, and the fields it was encoded to.
#[derive(Default)]
struct EncodedTime {
    ms: Option<u64>,
    fields: Vec<u8>,
}

impl Times {
    fn at(now: Now) -> Self {
        Self { now, deadline: EncodedTime::default(), published: EncodedTime::default() }
    }
}

impl EncodedTime {
    fn encoded(&mut self, ms: u64, encode: impl FnOnce(u64, &mut Vec<u8>)) -> &[u8] {
        if self.ms != Some(ms) {
            self.fields.clear();
            encode(ms, &mut self.fields);
            self.ms = Some(ms);
        }
        &self.fields
    }
}

/// Encodes these deliveries as one frame, with the times as they are at `now`.
pub(crate) fn batch(deliveries: Vec<LeasedMessage>, now: Now) -> DeliveryBatch {
    let mut times = Times::at(now);
    let mut encoded = EncodedDeliveries::with_capacity(deliveries.len(), deliveries.len() * HEAD_BYTES);
    for delivery in deliveries {
        encoded.push(|head| {
            delivery.put_head(&mut times, head);
            delivery.payload
        });
    }
    DeliveryBatch { encoded, deliveries: Vec::new() }
}

/// About the bytes of a delivery without attributes beside its payload.
const HEAD_BYTES: usize = 144;

fn begin(field: u32, length: usize, buf: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(length as u64, buf);
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests;
