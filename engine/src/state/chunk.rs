//! The ack state of 4,096 sequences.

use super::bits::Bits;
use crate::{halt::Halt, limits::CHUNK, schema::AckChunkRow};

/// A message is free when it is none of settled, leased and waiting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) settled: Bits,
    /// The message is not delivered now: it waits for a retry, or is parked.
    pub(crate) waiting: Bits,
    /// The message has a retry row.
    pub(crate) failed: Bits,
    /// The message is leased; derived from the lease rows.
    pub(crate) leased: Bits,
    /// The chunk's row is written at the batch's end.
    pub(crate) changed: bool,
}

impl Chunk {
    pub(crate) fn from_row(row: &AckChunkRow) -> Result<Self, Halt> {
        let bits = |bytes| Bits::from_bytes(bytes).ok_or_else(|| Halt::Corrupt("a bitmap's length".into()));
        Ok(Self {
            settled: bits(&row.settled)?,
            waiting: bits(&row.waiting)?,
            failed: bits(&row.failed)?,
            ..Self::default()
        })
    }

    pub(crate) fn to_row(&self) -> AckChunkRow {
        AckChunkRow {
            settled: self.settled.to_bytes(),
            waiting: self.waiting.to_bytes(),
            failed: self.failed.to_bytes(),
        }
    }

    pub(crate) fn free_word(&self, word: usize) -> u64 {
        !(self.settled.word(word) | self.leased.word(word) | self.waiting.word(word))
    }

    pub(crate) fn is_free(&self, bit: usize) -> bool {
        self.free_word(bit / 64) >> (bit % 64) & 1 == 1
    }
}

/// The number of the chunk that a sequence is in.
pub(crate) const fn number(sequence: u64) -> u64 {
    sequence / CHUNK
}

/// The bit of a sequence in its chunk.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn bit(sequence: u64) -> usize {
    (sequence % CHUNK) as usize
}

/// The sequence of a bit of a chunk.
pub(crate) const fn sequence(number: u64, bit: usize) -> u64 {
    number * CHUNK + bit as u64
}
