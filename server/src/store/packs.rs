//! Packs: consecutive bodies of a line that were written by one batch are one row. A row for each would cost an entry
//! of a memtable, an entry of a block and a search for every message.
//!
//! The key of a pack is that of its last body and one byte more, so that the first row at or behind a body's key holds
//! the body, if it exists. Its value is the number of bodies, the length of each (all `u32`), and the bodies. A single
//! body is a row of its own, as it was before there were packs.

use std::ops::Range;

use bytes::Bytes;

use super::trims::{join, split};

/// The most bytes of a pack: about a block, which is read for one of its bodies. A larger body is a row of its own.
pub(super) const PACK_BYTES: usize = 128 << 10;
/// The byte behind the last body's key in the key of a pack.
const PACK: u8 = 1;

/// Bodies of a batch that may become one row.
#[derive(Default)]
pub(super) struct Packing<'a> {
    line: &'a [u8],
    last: u64,
    bodies: Vec<(&'a Bytes, &'a Bytes)>,
    bytes: usize,
}

impl<'a> Packing<'a> {
    /// Whether a body belongs to the same row as those before it.
    pub(super) fn accepts(&self, line: &[u8], sequence: u64, bytes: usize) -> bool {
        !self.bodies.is_empty()
            && self.bytes + 4 + bytes <= PACK_BYTES
            && self.line == line
            && self.last.checked_add(1) == Some(sequence)
    }

    /// The next body, in its two parts.
    pub(super) fn add(&mut self, line: &'a [u8], sequence: u64, head: &'a Bytes, tail: &'a Bytes) {
        (self.line, self.last) = (line, sequence);
        self.bytes += 4 + head.len() + tail.len();
        self.bodies.push((head, tail));
    }

    /// Passes the row of the added bodies to `put`, and starts again.
    pub(super) fn finish(&mut self, value: &mut Vec<u8>, put: impl FnOnce(&[u8], &[u8])) {
        if self.bodies.is_empty() {
            return;
        }
        value.clear();
        let mut key = join(self.line, self.last);
        if self.bodies.len() > 1 {
            key.push(PACK);
            value.extend_from_slice(&length(self.bodies.len()));
            for (head, tail) in &self.bodies {
                value.extend_from_slice(&length(head.len() + tail.len()));
            }
        }
        for (head, tail) in &self.bodies {
            value.extend_from_slice(head);
            value.extend_from_slice(tail);
        }
        put(&key, value);
        self.bodies.clear();
        self.bytes = 0;
    }
}

/// Of anything in a batch, which is far smaller than 4 GiB.
fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes()
}

/// A row of bodies, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pack<'a> {
    pub(super) line: &'a [u8],
    pub(super) first: u64,
    pub(super) last: u64,
    /// Nothing in the row of a single body.
    lengths: &'a [u8],
    bodies: &'a [u8],
}

/// A row of bodies that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotWhole;

impl<'a> Pack<'a> {
    /// Of a row; `None` if its key is of something else than bodies.
    pub(super) fn of(key: &'a [u8], value: &'a [u8]) -> Result<Option<Self>, NotWhole> {
        if let Some((line, sequence)) = split(key) {
            let (first, last) = (sequence, sequence);
            return Ok(Some(Self { line, first, last, lengths: &[], bodies: value }));
        }
        let Some((line, last)) = key.strip_suffix(&[PACK]).and_then(split) else { return Ok(None) };
        let (count, rest) = value.split_first_chunk().ok_or(NotWhole)?;
        let count = u32::from_be_bytes(*count);
        let table = usize::try_from(count).ok().and_then(|count| count.checked_mul(4)).ok_or(NotWhole)?;
        let (lengths, bodies) = rest.split_at_checked(table).ok_or(NotWhole)?;
        let before = u64::from(count).checked_sub(1).ok_or(NotWhole)?;
        let first = last.checked_sub(before).ok_or(NotWhole)?;
        let pack = Self { line, first, last, lengths, bodies };
        if pack.lengths().sum::<usize>() == bodies.len() { Ok(Some(pack)) } else { Err(NotWhole) }
    }

    /// Whether a body is in it.
    pub(super) fn holds(&self, line: &[u8], sequence: u64) -> bool {
        self.line == line && (self.first..=self.last).contains(&sequence)
    }

    /// The bodies of some sequences, which are all in it, in one copy.
    pub(super) fn copied(&self, sequences: Range<u64>) -> impl Iterator<Item = Bytes> + use<> {
        let index = |sequence: u64| usize::try_from(sequence - self.first).unwrap_or(usize::MAX);
        let (from, to) = (index(sequences.start), index(sequences.end));
        let lengths: Vec<usize> = self.lengths().skip(from).take(to - from).collect();
        let before: usize = self.lengths().take(from).sum();
        let mut copied = Bytes::copy_from_slice(&self.bodies[before..][..lengths.iter().sum()]);
        lengths.into_iter().map(move |length| copied.split_to(length))
    }

    /// Key and body of each.
    pub(super) fn rows(&self) -> Vec<(Vec<u8>, &'a [u8])> {
        let mut rest = self.bodies;
        let mut row = |(sequence, length): (u64, usize)| {
            let (body, behind) = rest.split_at(length);
            rest = behind;
            (join(self.line, sequence), body)
        };
        (self.first..=self.last).zip(self.lengths()).map(&mut row).collect()
    }

    fn lengths(&self) -> impl Iterator<Item = usize> + use<'a> {
        let whole = self.lengths.is_empty().then_some(self.bodies.len());
        let each = self.lengths.chunks_exact(4).map(|length| {
            let length = length.try_into().map_or(u32::MAX, u32::from_be_bytes);
            usize::try_from(length).unwrap_or(usize::MAX)
        });
        whole.into_iter().chain(each)
    }
}
