use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, message, skip_field},
};

use crate::v1::Delivery;

/// `DeliveryBatch` of the schema, by hand: a server puts deliveries into it that are encoded already, in pieces, so that
/// their payloads are copied once. On the wire, and for who decodes it, it is the message of the schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryBatch {
    /// `repeated Delivery deliveries = 1`, after those in `encoded`.
    pub deliveries: Vec<Delivery>,
    /// Those that are encoded. Empty after decoding.
    pub encoded: EncodedDeliveries,
}

/// Deliveries as fields of a [`DeliveryBatch`], each in two pieces, of which the second is its payload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedDeliveries {
    heads: Vec<u8>,
    /// Where each head ends, and what follows it.
    payloads: Vec<(usize, Bytes)>,
}

impl EncodedDeliveries {
    /// None yet, with room for so many whose heads take so many bytes together.
    #[must_use]
    pub fn with_capacity(deliveries: usize, head_bytes: usize) -> Self {
        Self { heads: Vec::with_capacity(head_bytes), payloads: Vec::with_capacity(deliveries) }
    }

    /// Adds one; `put` appends all of it but its payload, which it returns.
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
/// Deliveries that are made room for before they are seen.
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
                    // The others are mostly like the first.
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
