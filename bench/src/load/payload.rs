//! Payloads: the moment at which the message was due, its number, and random bytes that do not compress.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes of the moment and the number.
pub const MIN_PAYLOAD_BYTES: usize = 16;

/// Makes payloads of one size.
#[derive(Debug)]
pub struct Payloads {
    origin: Instant,
    filling: Vec<u8>,
    next_start: usize,
    size: usize,
}

/// The header of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the message was due.
    pub due: Instant,
    /// Number of the message in its run.
    pub number: u64,
}

impl Payloads {
    /// Payloads of this size, with moments relative to `origin`.
    pub fn new(size: usize, origin: Instant) -> Self {
        assert!(size >= MIN_PAYLOAD_BYTES, "a payload has at least {MIN_PAYLOAD_BYTES} bytes");
        // A window that moves over random bytes: neighbours differ, and making a payload is one copy.
        let filling = (0..2 * size.max(4096)).map(|_| rand::random()).collect();
        Self { origin, filling, next_start: 0, size }
    }

    /// The next payload.
    pub fn next(&mut self, due: Instant, number: u64) -> Bytes {
        let rest = self.size - MIN_PAYLOAD_BYTES;
        let mut bytes = BytesMut::with_capacity(self.size);
        let nanos = due.saturating_duration_since(self.origin).as_nanos();
        bytes.put_u64_le(u64::try_from(nanos).unwrap_or(u64::MAX));
        bytes.put_u64_le(number);
        self.next_start = (self.next_start + 61) % (self.filling.len() - rest);
        bytes.extend_from_slice(&self.filling[self.next_start..self.next_start + rest]);
        bytes.freeze()
    }
}

/// The header of a payload; `None` if the payload is too short.
pub fn header(payload: &[u8], origin: Instant) -> Option<Header> {
    let nanos = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let number = u64::from_le_bytes(payload.get(8..16)?.try_into().ok()?);
    Some(Header { due: origin.checked_add(Duration::from_nanos(nanos))?, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_it_was_made_of() {
        let origin = Instant::now();
        let mut payloads = Payloads::new(100, origin);
        let due = origin + Duration::from_micros(1_234_567);
        let payload = payloads.next(due, 42);
        assert_eq!(payload.len(), 100);
        assert_eq!(header(&payload, origin), Some(Header { due, number: 42 }));
        assert_ne!(payloads.next(due, 42)[16..], payload[16..]);
        assert_eq!(header(&payload[..15], origin), None);
    }
}
