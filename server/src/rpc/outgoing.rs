//! Deliveries on their way out: encoded once, with payloads that are not copied before they are written to a frame.

use bytes::Bytes;
use posthouse_proto::{
    DeliveryBatch,
    v1::{Delivery, Message},
};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

/// Field numbers of the schema.
const DELIVERIES: u32 = 1;
const MESSAGE: u32 = 2;
const PAYLOAD: u32 = 4;

/// A delivery in parts, as they are written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Without its message.
    pub(crate) delivery: Delivery,
    /// Without its payload.
    pub(crate) message: Message,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    pub(crate) fn new(delivery: Delivery, message: Message, payload: Bytes) -> Self {
        debug_assert!(delivery.message.is_none() && message.payload.is_empty());
        Self { delivery, message, payload }
    }

    /// In one piece.
    pub(crate) fn whole(self) -> Delivery {
        let Self { delivery, message, payload } = self;
        Delivery { message: Some(Message { payload, ..message }), ..delivery }
    }

    /// Bytes of the delivery on the wire.
    pub(crate) fn encoded_len(&self) -> usize {
        self.delivery.encoded_len() + field_len(MESSAGE, self.message_len())
    }

    fn message_len(&self) -> usize {
        let payload = if self.payload.is_empty() { 0 } else { field_len(PAYLOAD, self.payload.len()) };
        self.message.encoded_len() + payload
    }

    /// All but the payload, which comes last. Fields may stand in any order.
    fn put_head(&self, head: &mut Vec<u8>) {
        let message_len = self.message_len();
        begin(DELIVERIES, self.delivery.encoded_len() + field_len(MESSAGE, message_len), head);
        self.delivery.encode_raw(head);
        begin(MESSAGE, message_len, head);
        self.message.encode_raw(head);
        if !self.payload.is_empty() {
            begin(PAYLOAD, self.payload.len(), head);
        }
    }
}

/// The frame of these deliveries.
pub(crate) fn batch(deliveries: Vec<Outgoing>) -> DeliveryBatch {
    let mut heads = Vec::with_capacity(deliveries.len() * HEAD_BYTES);
    let put = |outgoing: Outgoing| {
        let from = heads.len();
        outgoing.put_head(&mut heads);
        (from..heads.len(), outgoing.payload)
    };
    let parts: Vec<_> = deliveries.into_iter().map(put).collect();
    let heads = Bytes::from(heads);
    let encoded = parts.into_iter().flat_map(|(head, payload)| [heads.slice(head), payload]).collect();
    DeliveryBatch { encoded, deliveries: Vec::new() }
}

/// About what a delivery without attributes takes beside its payload.
const HEAD_BYTES: usize = 128;

fn begin(field: u32, length: usize, buf: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(length as u64, buf);
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use posthouse_proto::v1::{ConsumeResponse, DeadLetter, consume_response::Frame};
    use proptest::prelude::*;
    use prost_types::Timestamp;

    use super::*;

    prop_compose! {
        fn outgoing()(
            token in prop::collection::vec(any::<u8>(), 0..30),
            (attempt, resumed, sequence) in any::<(u32, bool, u64)>(),
            (seconds, nanos) in any::<(i64, i32)>(),
            id in ".{0,30}",
            attributes in prop::collection::hash_map(".{0,10}", ".{0,10}", 0..4),
            dead in prop::option::of(".{0,10}"),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) -> Outgoing {
            let time = Some(Timestamp { seconds, nanos });
            let dead_letter =
                dead.map(|source_queue| Box::new(DeadLetter { source_queue, ..DeadLetter::default() }));
            let delivery =
                Delivery { token: token.into(), message: None, attempt, lease_deadline: time, resumed };
            let message =
                Message { id, sequence, publish_time: time, attributes, dead_letter, ..Message::default() };
            Outgoing::new(delivery, message, payload.into())
        }
    }

    proptest! {
        #[test]
        fn who_decodes_a_frame_finds_the_deliveries(outgoing in prop::collection::vec(outgoing(), 0..5)) {
            for one in &outgoing {
                let mut head = Vec::new();
                one.put_head(&mut head);
                prop_assert_eq!(head.len() + one.payload.len(), field_len(DELIVERIES, one.encoded_len()));
            }
            let whole = |o: &Outgoing| {
                Outgoing::new(o.delivery.clone(), o.message.clone(), o.payload.clone()).whole()
            };
            let expected: Vec<_> = outgoing.iter().map(whole).collect();
            let lengths: Vec<_> = outgoing.iter().map(Outgoing::encoded_len).collect();
            prop_assert_eq!(lengths, expected.iter().map(prost::Message::encoded_len).collect::<Vec<_>>());
            let frame = ConsumeResponse { frame: Some(Frame::Deliveries(batch(outgoing))) };
            let bytes = frame.encode_to_vec();
            prop_assert_eq!(bytes.len(), frame.encoded_len());
            let found = ConsumeResponse::decode(&bytes[..]).unwrap();
            let Some(Frame::Deliveries(found)) = found.frame else { panic!("{found:?}") };
            prop_assert_eq!(found, DeliveryBatch { deliveries: expected, encoded: Vec::new() });
        }
    }
}
