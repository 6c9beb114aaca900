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
    /// Deliveries as fields of this message; put together, the pieces are whole fields. Empty after decoding.
    pub encoded: Vec<Bytes>,
}

const DELIVERIES: u32 = 1;
/// Deliveries that are made room for before they are seen.
const MOST_RESERVED: usize = 1_024;

impl Message for DeliveryBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.encoded.iter().for_each(|piece| buf.put_slice(piece));
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
                    self.deliveries.reserve(others.min(MOST_RESERVED));
                }
                Ok(())
            }
            _ => skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let encoded: usize = self.encoded.iter().map(Bytes::len).sum();
        encoded + message::encoded_len_repeated(DELIVERIES, &self.deliveries)
    }

    fn clear(&mut self) {
        self.deliveries.clear();
        self.encoded.clear();
    }
}
