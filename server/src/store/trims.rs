//! Bodies below a point of their line are gone for every reader at once, and from the files later, without a tombstone.
//!
//! A line is what differs only in the last eight bytes of a key: the messages of one lane, by sequence. A range tombstone
//! would make the file it is flushed into overlap every file of its line, and RocksDB would then rewrite all of them.
//! Instead a row, written together with the batch that trims, says up to where a line is trimmed; whole files go with the
//! next [flush](super::Store::flush), and what shares a file with others when that is compacted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use posthouse_engine::keys::{BodyKey, Key as _};

/// A body's key, taken apart: its line and its sequence. Other keys belong to no line; among them are those of ranges, such
/// as a whole queue.
pub(super) fn split(key: &[u8]) -> Option<(&[u8], u64)> {
    BodyKey::decode(key)?;
    key.split_last_chunk().map(|(line, sequence)| (line, u64::from_be_bytes(*sequence)))
}

/// A line and a sequence, put together.
pub(super) fn join(line: &[u8], sequence: u64) -> Vec<u8> {
    [line, &sequence.to_be_bytes()].concat()
}

/// What is trimmed of each line.
#[derive(Debug, Default)]
pub(super) struct Trims {
    lines: RwLock<BTreeMap<Vec<u8>, Trimmed>>,
    /// Lines that were trimmed since the flush before.
    touched: Mutex<BTreeSet<Vec<u8>>>,
}

/// The sequences of a line that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trimmed {
    from: u64,
    to: u64,
    /// Up to where that is durable. A crash undoes what is beyond, and the replay reads those bodies again.
    flushed: u64,
}

impl Trims {
    /// Takes up a row that was found when the store was opened. `false`: it is damaged.
    pub(super) fn load(&self, line: &[u8], row: &[u8]) -> bool {
        let number = |bytes: Option<&[u8; 8]>| bytes.map(|bytes| u64::from_be_bytes(*bytes));
        let (Some(from), Some(to), 16) = (number(row.first_chunk()), number(row.last_chunk()), row.len())
        else {
            return false;
        };
        self.write().insert(line.to_vec(), Trimmed { from, to, flushed: to });
        split(&join(line, from)).is_some()
    }

    /// Trims a range and returns the line and its new row; `None`, and nothing is changed, if the range is of more than
    /// one line or has a gap to what its line has trimmed before.
    pub(super) fn trim<'a>(&self, from: &'a [u8], to: &[u8]) -> Option<(&'a [u8], [u8; 16])> {
        let ((line, first), (_, end)) = (split(from)?, split(to).filter(|(line, _)| from.starts_with(line))?);
        let mut lines = self.write();
        let new = Trimmed { from: first, to: end, flushed: first };
        let trimmed = lines.get(line).copied().unwrap_or(new);
        if first < trimmed.from || first > trimmed.to {
            return None;
        }
        let trimmed = Trimmed { to: trimmed.to.max(end), ..trimmed };
        lines.insert(line.to_vec(), trimmed);
        drop(lines);
        self.touched().insert(line.to_vec());
        let mut row = [0; 16];
        row[..8].copy_from_slice(&trimmed.from.to_be_bytes());
        row[8..].copy_from_slice(&trimmed.to.to_be_bytes());
        Some((line, row))
    }

    /// Forgets the lines of which nothing is trimmed outside of a range, which is deleted as a whole; those lines.
    pub(super) fn forget(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = self.write();
        let inside = |(line, trimmed): (&Vec<u8>, &Trimmed)| {
            let whole =
                join(line, trimmed.from).as_slice() >= from && join(line, trimmed.to).as_slice() <= to;
            whole.then(|| line.clone())
        };
        let gone: Vec<_> = lines.range(from.to_vec()..to.to_vec()).filter_map(inside).collect();
        for line in &gone {
            lines.remove(line);
        }
        gone
    }

    /// Whether the row of a key is gone.
    pub(super) fn hides(&self, key: &[u8]) -> bool {
        let Some((line, sequence)) = split(key) else { return false };
        self.read().get(line).is_some_and(|trimmed| (trimmed.from..trimmed.to).contains(&sequence))
    }

    /// Which of these are gone; they are mostly of one line.
    pub(super) fn hidden(&self, keys: &[Vec<u8>]) -> Vec<bool> {
        let lines = self.read();
        let mut last: Option<(&[u8], Range<u64>)> = None;
        let mut hidden = Vec::with_capacity(keys.len());
        for key in keys {
            let Some((line, sequence)) = split(key) else {
                hidden.push(false);
                continue;
            };
            let (_, gone) = match last.take().filter(|(of, _)| *of == line) {
                Some(same) => last.insert(same),
                None => last.insert((line, lines.get(line).map_or(0..0, |trimmed| trimmed.from..trimmed.to))),
            };
            hidden.push(gone.contains(&sequence));
        }
        hidden
    }

    /// What a flush that begins now makes durable: lines, and up to where each is trimmed.
    pub(super) fn to_flush(&self) -> Vec<(Vec<u8>, Range<u64>)> {
        let touched = std::mem::take(&mut *self.touched());
        let lines = self.read();
        let range = |line: Vec<u8>| {
            let trimmed = lines.get(&line)?;
            Some((line, trimmed.from..trimmed.to))
        };
        touched.into_iter().filter_map(range).collect()
    }

    /// The flush is done: compaction may drop what it made durable.
    pub(super) fn flushed(&self, ranges: &[(Vec<u8>, Range<u64>)]) {
        let mut lines = self.write();
        for (line, range) in ranges {
            if let Some(trimmed) = lines.get_mut(line).filter(|trimmed| trimmed.from == range.start) {
                trimmed.flushed = range.end;
            }
        }
    }

    /// What compaction may drop of a line.
    pub(super) fn droppable(&self, line: &[u8]) -> Range<u64> {
        self.read().get(line).map_or(0..0, |trimmed| trimmed.from..trimmed.flushed)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Vec<u8>, Trimmed>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Vec<u8>, Trimmed>> {
        self.lines.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
