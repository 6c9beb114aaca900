use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, message, skip_field},
};

use crate::v1::Delivery;

/// The message `DeliveryBatch`, written by hand: a server adds deliveries that are already encoded, in two pieces, so
/// that their payloads are copied once. The bytes on the wire are those of the generated message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryBatch {
    /// The field `repeated Delivery deliveries = 1`; encoded after `encoded`.
    pub deliveries: Vec<Delivery>,
    /// Deliveries that are already encoded. Empty after decoding.
    pub encoded: EncodedDeliveries,
}

/// Encoded deliveries, as fields of a [`DeliveryBatch`]. Each has a head, and its payload as the second piece.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedDeliveries {
    heads: Vec<u8>,
    /// For each delivery, where its head ends in `heads`, and its payload.
    payloads: Vec<(usize, Bytes)>,
}

impl EncodedDeliveries {
    /// Creates an empty list with capacity for `deliveries`, whose heads have `head_bytes` bytes in total.
    #[must_use]
    pub fn with_capacity(deliveries: usize, head_bytes: usize) -> Self {
        Self { heads: Vec::with_capacity(head_bytes), payloads: Vec::with_capacity(deliveries) }
    }

    /// Adds a delivery. `put` appends its head, which is all but the payload, and returns the payload.
    pub fn push(&mut self, put: impl FnOnce(&mut Vec<u8>) -> Bytes) {
        let payload = put(&mut self.heads);
        self.payloads.push((self.heads.len(), payload));
    }

    fn encoded_len(&self) -> usize {
        self.heads.len() + self.payloads.iter().map(|(_, payload)| payload.len()).sum::<usize>()
    }

    fn encode(&self, buf: &mut impl BufMut) {
        let mut from = 0;
        for (to, payload) in &self.payloads {
            buf.put_slice(&self.heads[from..*to]);
            buf.put_slice(payload);
            from = *to;
        }
    }
}

const DELIVERIES: u32 = 1;
/// Largest capacity that is reserved before the deliveries are decoded.
const MAX_RESERVED: usize = 1_024;

impl Message for DeliveryBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.encoded.encode(buf);
        message::encode_repeated(DELIVERIES, &self.deliveries, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            DELIVERIES => {
                let before = buf.remaining();
                message::merge_repeated(wire_type, &mut self.deliveries, buf, context)?;
                if self.deliveries.len() == 1 {
                    // The other deliveries are likely to be as large as the first.
                    let others = buf.remaining() / (before - buf.remaining()).max(1);
                    self.deliveries.reserve(others.min(MAX_RESERVED));
                }
                Ok(())
            }
            _ => skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.encoded.encoded_len() + message::encoded_len_repeated(DELIVERIES, &self.deliveries)
    }

    fn clear(&mut self) {
        self.deliveries.clear();
        self.encoded = EncodedDeliveries::default();
    }
}
