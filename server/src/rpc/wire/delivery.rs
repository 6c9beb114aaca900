//! Deliveries on their way out: kept small, encoded once, with payloads that are not copied before they are written to a
//! frame. What is written is what prost would write of [`Outgoing::whole`], but for the order of the fields.

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

/// A delivery: who has it for how long, and its message.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) queue: QueueRef,
    pub(crate) live: LiveDelivery,
    /// It is sent again to a resumed session.
    pub(crate) resumed: bool,
    /// The time of the batch that published it: for how long it has waited.
    pub(crate) published_at_ms: u64,
    /// What is told of that.
    pub(crate) shown_published_at_ms: u64,
    pub(crate) dead_letter: Option<Box<DeadLetter>>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// As the schema has it, told now.
    pub(crate) fn whole(self, now: Now) -> Delivery {
        let message = Message {
            id: convert::message_id(self.queue, self.live.item.sequence),
            sequence: self.live.item.sequence,
            publish_time: Some(convert::timestamp(self.shown_published_at_ms)),
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

    /// Bytes of the delivery on the wire, if it is told now.
    pub(crate) fn encoded_len(&self, now: Now) -> usize {
        let (told, left) = deadline(now, self.live.deadline_ms);
        let deadline =
            message::encoded_len(LEASE_DEADLINE, &told) + message::encoded_len(LEASE_TIME_LEFT, &left);
        let published = message::encoded_len(PUBLISH_TIME, &convert::timestamp(self.shown_published_at_ms));
        self.lease_len(deadline) + field_len(MESSAGE, self.message_len(published))
    }

    /// Of all but its message; the deadline and the time left take so many.
    fn lease_len(&self, deadline: usize) -> usize {
        let item = &self.live.item;
        field_len(TOKEN, convert::TOKEN_BYTES)
            + if item.attempt == 0 { 0 } else { uint32::encoded_len(ATTEMPT, &item.attempt) }
            + deadline
            + if self.resumed { bool::encoded_len(RESUMED, &true) } else { 0 }
    }

    /// Of its message; the time it was published takes so many.
    fn message_len(&self, published: usize) -> usize {
        let sequence = self.live.item.sequence;
        field_len(ID, convert::MESSAGE_ID_BYTES)
            + if sequence == 0 { 0 } else { uint64::encoded_len(SEQUENCE, &sequence) }
            + published
            + btree_map::encoded_len(string::encoded_len, string::encoded_len, ATTRIBUTES, &self.attributes)
            + self.dead_letter.as_ref().map_or(0, |dead| message::encoded_len(DEAD_LETTER, &**dead))
            + if self.payload.is_empty() { 0 } else { field_len(PAYLOAD, self.payload.len()) }
    }

    /// All but the payload, which comes last. Fields may stand in any order.
    fn put_head(&self, times: &mut Times, head: &mut Vec<u8>) {
        let item = &self.live.item;
        let now = times.now;
        let deadline = times.deadline.encoded(self.live.deadline_ms, |ms, buf| {
            let (told, left) = deadline(now, ms);
            message::encode(LEASE_DEADLINE, &told, buf);
            message::encode(LEASE_TIME_LEFT, &left, buf);
        });
        let published = times.published.encoded(self.shown_published_at_ms, |ms, buf| {
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

/// A delivery as it leaves.
pub(crate) fn delivery(
    queue: QueueRef,
    source: &QueueResource,
    live: &LiveDelivery,
    body: Body,
    resumed: bool,
) -> Outgoing {
    let Body { published_at_ms, shown_published_at_ms, origin, attributes, payload } = body;
    let dead_letter = origin.map(|origin| Box::new(dead_letter(queue, source, *origin)));
    Outgoing {
        queue,
        live: *live,
        resumed,
        published_at_ms,
        shown_published_at_ms,
        dead_letter,
        attributes,
        payload,
    }
}

/// When a lease ends, and how long it is until then.
fn deadline(now: Now, deadline_ms: u64) -> (Timestamp, Duration) {
    (convert::timestamp(now.shown_ms(deadline_ms)), convert::duration(now.left_ms(deadline_ms)))
}

/// The times of the delivery before: those of one batch mostly have the same.
struct Times {
    now: Now,
    deadline: Time,
    published: Time,
}

/// What is told of a time, as fields.
#[derive(Default)]
struct Time {
    ms: Option<u64>,
    encoded: Vec<u8>,
}

impl Times {
    fn at(now: Now) -> Self {
        Self { now, deadline: Time::default(), published: Time::default() }
    }
}

impl Time {
    fn encoded(&mut self, ms: u64, encode: impl FnOnce(u64, &mut Vec<u8>)) -> &[u8] {
        if self.ms != Some(ms) {
            self.encoded.clear();
            encode(ms, &mut self.encoded);
            self.ms = Some(ms);
        }
        &self.encoded
    }
}

/// The frame of these deliveries, told now.
pub(crate) fn batch(deliveries: Vec<Outgoing>, now: Now) -> DeliveryBatch {
    let mut times = Times::at(now);
    let mut encoded = EncodedDeliveries::with_capacity(deliveries.len(), deliveries.len() * HEAD_BYTES);
    for outgoing in deliveries {
        encoded.push(|head| {
            outgoing.put_head(&mut times, head);
            outgoing.payload
        });
    }
    DeliveryBatch { encoded, deliveries: Vec::new() }
}

/// About what a delivery without attributes takes beside its payload.
const HEAD_BYTES: usize = 144;

fn begin(field: u32, length: usize, buf: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(length as u64, buf);
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use posthouse_engine::{
        ids::{DepartmentId, LeaseId, QueueId},
        outcome::GrantedItem,
    };
    use posthouse_proto::v1::{ConsumeResponse, consume_response::Frame};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    prop_compose! {
        fn outgoing()(
            (department, queue, lease, nonce) in any::<(u32, u32, u64, u64)>(),
            (index, sequence, attempt) in (any::<u32>(), small_u64(), small_u64()),
            (deadline_ms, shown_published_at_ms, resumed) in (time(), time(), any::<bool>()),
            attributes in prop::collection::btree_map(".{0,10}", ".{0,10}", 0..4),
            dead in prop::option::of(".{0,10}"),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) -> Outgoing {
            let item = GrantedItem { index, sequence, attempt: attempt as u32 };
            Outgoing {
                queue: QueueRef { department: DepartmentId(department), queue: QueueId(queue) },
                live: LiveDelivery { lease: LeaseId(lease), nonce, deadline_ms, item },
                resumed,
                published_at_ms: 0,
                shown_published_at_ms,
                dead_letter: dead.map(|source_queue| Box::new(DeadLetter { source_queue, ..DeadLetter::default() })),
                attributes,
                payload: payload.into(),
            }
        }
    }

    /// Often the same.
    fn time() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(7_001), small_u64()]
    }

    fn small_u64() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1..300_u64, any::<u32>().prop_map(u64::from), any::<u64>()]
    }

    proptest! {
        #[test]
        fn who_decodes_a_frame_finds_the_deliveries(
            outgoing in prop::collection::vec(outgoing(), 0..5),
            (stamp_ms, wall_ms) in (time(), time()),
        ) {
            let now = Now::at(stamp_ms, wall_ms);
            for one in &outgoing {
                let mut head = Vec::new();
                one.put_head(&mut Times::at(now), &mut head);
                prop_assert_eq!(head.len() + one.payload.len(), field_len(DELIVERIES, one.encoded_len(now)));
            }
            let lengths: Vec<_> = outgoing.iter().map(|one| one.encoded_len(now)).collect();
            let frame = ConsumeResponse { frame: Some(Frame::Deliveries(batch(outgoing.clone(), now))) };
            let expected: Vec<_> = outgoing.into_iter().map(|one| one.whole(now)).collect();
            prop_assert_eq!(lengths, expected.iter().map(prost::Message::encoded_len).collect::<Vec<_>>());
            let bytes = frame.encode_to_vec();
            prop_assert_eq!(bytes.len(), frame.encoded_len());
            let found = ConsumeResponse::decode(&bytes[..]).unwrap();
            let Some(Frame::Deliveries(found)) = found.frame else { panic!("{found:?}") };
            prop_assert_eq!(found, DeliveryBatch { deliveries: expected, ..DeliveryBatch::default() });
        }
    }
}
