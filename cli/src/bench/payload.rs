//! Payloads: a mark, the run's number, a time, and random bytes.

use posthouse_client::Bytes;

/// First bytes of every payload; no text begins with them.
const MARK: [u8; 8] = *b"\xffPHbench";

/// Payloads of one stream.
#[derive(Debug)]
pub struct Payloads {
    size: usize,
    run: u64,
    state: u64,
}

/// The origin of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Published by this run, this many nanoseconds after its begin.
    ThisRun(u64),
    /// Published by another run.
    OtherRun,
    /// Not published by this command.
    Foreign,
}

impl Payloads {
    /// Payloads of a size, which is no less than [`MIN_PAYLOAD_BYTES`](crate::args::MIN_PAYLOAD_BYTES).
    pub fn new(size: u32, run: u64) -> Self {
        Self { size: size as usize, run, state: rand::random() }
    }

    /// The next payload, sent this many nanoseconds after the run's begin. All payloads differ and none can be
    /// compressed, so that a store that compresses does not look better than it is.
    pub fn next(&mut self, nanos: u64) -> Bytes {
        let mut bytes = Vec::with_capacity(self.size + 8);
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&self.run.to_le_bytes());
        bytes.extend_from_slice(&nanos.to_le_bytes());
        while bytes.len() < self.size {
            bytes.extend_from_slice(&self.random().to_le_bytes());
        }
        bytes.truncate(self.size);
        bytes.into()
    }

    /// The next number of SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The origin of a payload, seen by a run.
pub fn origin(payload: &[u8], run: u64) -> Origin {
    let Some((mark, rest)) = payload.split_first_chunk() else { return Origin::Foreign };
    let Some((number, rest)) = rest.split_first_chunk() else { return Origin::Foreign };
    let Some((nanos, _)) = rest.split_first_chunk() else { return Origin::Foreign };
    match (*mark == MARK, u64::from_le_bytes(*number) == run) {
        (true, true) => Origin::ThisRun(u64::from_le_bytes(*nanos)),
        (true, false) => Origin::OtherRun,
        (false, _) => Origin::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::args::MIN_PAYLOAD_BYTES;

    #[test]
    fn a_payload_has_its_size_and_tells_whose_it_is() {
        for size in [MIN_PAYLOAD_BYTES, 25, 31, 32, 1024] {
            let payload = Payloads::new(size, 7).next(99);
            assert_eq!(payload.len(), size as usize);
            assert_eq!(origin(&payload, 7), Origin::ThisRun(99));
            assert_eq!(origin(&payload, 8), Origin::OtherRun);
        }
        assert_eq!(origin(&[0; 1024], 0), Origin::Foreign);
        assert_eq!(origin(&MARK, 0), Origin::Foreign);
        assert_eq!(origin(b"", 0), Origin::Foreign);
    }

    #[test]
    fn payloads_differ_and_are_not_zeros() {
        let mut payloads = Payloads::new(1024, 7);
        let all: HashSet<_> = (0..1000).map(|_| payloads.next(0).slice(24..)).collect();
        assert_eq!(all.len(), 1000);
        let zeros = all.iter().flat_map(|payload| payload.iter()).filter(|byte| **byte == 0).count();
        // About 3,900 are expected.
        assert!((2_000..8_000).contains(&zeros), "{zeros}");
    }
}
