//! What is published: the moment when it was due, its number, and bytes that nobody can compress.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};

/// The moment and the number need room.
pub const MIN_PAYLOAD_BYTES: usize = 16;

/// Makes payloads of one size.
#[derive(Debug)]
pub struct Payloads {
    origin: Instant,
    filling: Vec<u8>,
    next_start: usize,
    size: usize,
}

/// What a payload tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When it was due.
    pub due: Instant,
    /// Its number in the run.
    pub number: u64,
}

impl Payloads {
    /// Payloads of this size; moments count from `origin`.
    pub fn new(size: usize, origin: Instant) -> Self {
        assert!(size >= MIN_PAYLOAD_BYTES, "a payload has at least {MIN_PAYLOAD_BYTES} bytes");
        // A window that moves over random bytes: no two payloads near each other are alike, and making one is a copy.
        let filling = (0..2 * size.max(4096)).map(|_| rand::random()).collect();
        Self { origin, filling, next_start: 0, size }
    }

    /// The next.
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

/// What a payload tells; `None`: it is none of ours.
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
