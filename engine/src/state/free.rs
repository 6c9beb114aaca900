//! Which messages are free, by words of the bitmaps.

use super::{
    Subscription,
    bits::{WORDS, ones_of},
    chunk::{bit, number, sequence},
};
use crate::limits::CHUNK;

impl Subscription {
    /// At most `limit` free sequences at or above `from`, ascending, and the sequence to continue from.
    pub(crate) fn free_from(&self, from: u64, limit: usize, next_sequence: u64) -> (Vec<u64>, u64) {
        let mut found = Vec::with_capacity(limit.min(4_096));
        let floor = number(self.row.floor);
        for below in self.chunks.range(number(from)..floor.max(number(from))).map(|(number, _)| *number) {
            if let Some(next) = self.free_in(below, from, limit, next_sequence, &mut found) {
                return (found, next);
            }
        }
        let mut at = from.max(self.row.floor);
        while at < next_sequence {
            if let Some(next) = self.free_in(number(at), at, limit, next_sequence, &mut found) {
                return (found, next);
            }
            at = (number(at) + 1) * CHUNK;
        }
        (found, next_sequence.max(from))
    }

    /// The first message at or above `from` that is not settled; a sequence beyond the last message if there is none.
    pub(crate) fn next_unsettled(&self, from: u64) -> u64 {
        let mut at = from.max(1);
        loop {
            if let Some(chunk) = self.chunks.get(&number(at)) {
                match chunk.settled.first_clear(bit(at)) {
                    Some(clear) => return sequence(number(at), clear),
                    None => at = (number(at) + 1) * CHUNK,
                }
            } else if at >= self.row.floor {
                return at;
            } else {
                let next = self.chunks.range(number(at)..).next();
                at = next.map_or(self.row.floor, |(number, _)| (number * CHUNK).min(self.row.floor));
            }
        }
    }

    /// The first message at or above `from` that waits for a retry or is parked.
    pub(crate) fn next_waiting(&self, from: u64) -> Option<u64> {
        let mut chunks = self.chunks.range(number(from)..);
        chunks.find_map(|(number, chunk)| {
            chunk.waiting.iter().map(|bit| sequence(*number, bit)).find(|at| *at >= from)
        })
    }

    /// Collects the free sequences of one chunk. Returns the sequence to continue from once `limit` is reached or the
    /// queue ends.
    fn free_in(&self, number: u64, from: u64, limit: usize, end: u64, found: &mut Vec<u64>) -> Option<u64> {
        let first = if self::number(from) == number { bit(from) } else { 0 };
        let chunk = self.chunks.get(&number);
        for word in first / 64..WORDS {
            let mut free = chunk.map_or(u64::MAX, |chunk| chunk.free_word(word));
            if word == first / 64 {
                free &= u64::MAX << (first % 64);
            }
            for bit in ones_of(free, word) {
                let sequence = sequence(number, bit);
                if sequence >= end {
                    return Some(end);
                }
                if found.len() >= limit {
                    return Some(sequence);
                }
                found.push(sequence);
            }
        }
        None
    }
}
