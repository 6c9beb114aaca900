//! Payloads that identify themselves and show every flipped bit.
//!
//! A payload is `posthouse-test`, the producer and its count as 4 and 8 bytes, filler that both determine, and a
//! SHA-256 of all of it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

const MARK: &[u8] = b"posthouse-test";
const HEAD: usize = MARK.len() + 12;
const DIGEST: usize = 32;

/// A message that a test published; unique in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PayloadId {
    /// The producer.
    pub producer: u32,
    /// The number of the message of this producer.
    pub count: u64,
}

/// What a consumer found in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Seen {
    /// All bytes are as they were sent.
    Intact(PayloadId),
    /// The bytes are not those of any payload.
    Corrupt {
        /// The length of the payload.
        size: usize,
    },
}

/// A payload of `size` bytes, or of the smallest possible size.
pub fn encode(id: PayloadId, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size.max(HEAD + DIGEST));
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&id.producer.to_be_bytes());
    bytes.extend_from_slice(&id.count.to_be_bytes());
    let mut state = id.count ^ (u64::from(id.producer) << 32) ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() + DIGEST < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state.to_be_bytes()[0]);
    }
    let sum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

/// The message that a payload belongs to, if it is intact.
pub fn decode(bytes: &[u8]) -> Seen {
    whole(bytes).map_or(Seen::Corrupt { size: bytes.len() }, Seen::Intact)
}

fn whole(bytes: &[u8]) -> Option<PayloadId> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    if digest(&SHA256, body).as_ref() != sum {
        return None;
    }
    let rest = body.strip_prefix(MARK)?;
    let (producer, rest) = rest.split_first_chunk()?;
    let (count, _) = rest.split_first_chunk()?;
    Some(PayloadId { producer: u32::from_be_bytes(*producer), count: u64::from_be_bytes(*count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_recognised() {
        for size in [0, HEAD + DIGEST, 100, 1024, 70_000] {
            let id = PayloadId { producer: 7, count: size as u64 };
            let bytes = encode(id, size);
            assert_eq!(bytes.len(), size.max(HEAD + DIGEST));
            assert_eq!(decode(&bytes), Seen::Intact(id));
        }
    }

    #[test]
    fn every_changed_byte_shows() {
        let bytes = encode(PayloadId { producer: 1, count: 2 }, 80);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), Seen::Corrupt { size: 80 }, "byte {at}");
            assert_eq!(decode(&bytes[..at]), Seen::Corrupt { size: at });
        }
    }
}
