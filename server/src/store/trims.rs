//! Trimmed bodies of a line are hidden from every reader at once, and leave the files later, without a tombstone.
//!
//! A line is all keys that differ only in the last eight bytes: the messages of one lane, by sequence. A range
//! tombstone would make the file it is flushed into overlap every file of its line, and RocksDB would then rewrite all
//! of them. Instead a row, written together with the batch that trims, says how far a line is trimmed; whole files are
//! dropped with the next [flush](super::Store::flush), and bodies that share a file with others when that is compacted.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub(super) use posthouse_engine::keys::{join_line as join, split_line as split};

use super::errors::StoreError;

/// The trimmed part of each line.
#[derive(Debug, Default)]
pub(super) struct Trims {
    lines: RwLock<BTreeMap<Vec<u8>, Trimmed>>,
    /// Lines that were trimmed since the flush before.
    touched: Mutex<BTreeSet<Vec<u8>>>,
}

/// The trimmed sequences of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trimmed {
    from: u64,
    to: u64,
    /// Up to where that is durable. A crash undoes what is beyond, and the replay reads those bodies again.
    flushed: u64,
}

/// A trim that is being written.
#[derive(Debug)]
pub(super) struct Trim<'a> {
    pub(super) line: &'a [u8],
    pub(super) trimmed: Trimmed,
}

impl Trim<'_> {
    /// The line's row.
    pub(super) fn row(&self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.trimmed.from.to_be_bytes());
        row[8..].copy_from_slice(&self.trimmed.to.to_be_bytes());
        row
    }
}

impl Trims {
    /// Takes up a row that was found when the store was opened. `false`: it is damaged.
    pub(super) fn load(&self, line: &[u8], row: &[u8]) -> bool {
        let number = |bytes: Option<&[u8; 8]>| bytes.map(|bytes| u64::from_be_bytes(*bytes));
        let (Some(from), Some(to), 16) = (number(row.first_chunk()), number(row.last_chunk()), row.len())
        else {
            return false;
        };
        let sound = split(&join(line, from)).is_some();
        if sound {
            self.write().insert(line.to_vec(), Trimmed { from, to, flushed: to });
        }
        sound
    }

    /// The trim of a range, to be written and then [done](Self::done); `None` if the range is of more than one line. A
    /// line is trimmed from its beginning on. `in_batch` returns what the batch has already trimmed of a line.
    ///
    /// # Errors
    /// When there is a gap to what its line has trimmed before.
    pub(super) fn plan<'a>(
        &self,
        from: &'a [u8],
        to: &[u8],
        in_batch: impl FnOnce(&[u8]) -> Option<Option<Trimmed>>,
    ) -> Result<Option<Trim<'a>>, StoreError> {
        let (Some((line, first)), Some(end)) = (split(from), split(to)) else { return Ok(None) };
        let (true, end) = (end.0 == line, end.1) else { return Ok(None) };
        let trimmed = in_batch(line).unwrap_or_else(|| self.read().get(line).copied());
        let trimmed = trimmed.unwrap_or(Trimmed { from: 0, to: end, flushed: 0 });
        if first < trimmed.from || first > trimmed.to {
            return Err(StoreError::Unsupported("do not follow what was trimmed before"));
        }
        Ok(Some(Trim { line, trimmed: Trimmed { to: trimmed.to.max(end), ..trimmed } }))
    }

    /// A trim was written: from now on readers do not see the trimmed part, and the next flush makes it durable. It
    /// must not be called earlier: a flush that overtakes the write must not include it, and relocated bodies of the
    /// same batch must be readable first.
    pub(super) fn done(&self, trim: &Trim<'_>) {
        let new = trim.trimmed;
        let known = |trimmed: &mut Trimmed| trimmed.to = trimmed.to.max(new.to);
        self.write().entry(trim.line.to_vec()).and_modify(known).or_insert(new);
        self.touched().insert(trim.line.to_vec());
    }

    /// The lines of which nothing is trimmed outside of a range that is deleted as a whole.
    pub(super) fn within(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let lines = self.read();
        let inside = |(line, trimmed): (&Vec<u8>, &Trimmed)| {
            let whole =
                join(line, trimmed.from).as_slice() >= from && join(line, trimmed.to).as_slice() <= to;
            whole.then(|| line.clone())
        };
        lines.range(from.to_vec()..to.to_vec()).filter_map(inside).collect()
    }

    /// Lines were deleted, and their rows.
    pub(super) fn forget(&self, trimmed: &[Vec<u8>]) {
        let mut lines = self.write();
        for line in trimmed {
            lines.remove(line);
        }
    }

    /// Whether any sequence of a line, from a first to a last, is trimmed.
    pub(super) fn meets(&self, line: &[u8], first: u64, last: u64) -> bool {
        self.read().get(line).is_some_and(|trimmed| first < trimmed.to && trimmed.from <= last)
    }

    /// Whether the row of a key is trimmed.
    pub(super) fn hides(&self, key: &[u8]) -> bool {
        split(key).is_some_and(|(line, sequence)| self.trimmed(line).contains(&sequence))
    }

    /// The trimmed sequences of a line.
    pub(super) fn trimmed(&self, line: &[u8]) -> Range<u64> {
        self.read().get(line).map_or(0..0, |trimmed| trimmed.from..trimmed.to)
    }

    /// The lines that a flush that begins now makes durable, and how far each is trimmed.
    pub(super) fn to_flush(&self) -> Vec<(Vec<u8>, Range<u64>)> {
        let touched = std::mem::take(&mut *self.touched());
        let lines = self.read();
        let range = |line: Vec<u8>| {
            let trimmed = lines.get(&line)?;
            Some((line, trimmed.from..trimmed.to))
        };
        touched.into_iter().filter_map(range).collect()
    }

    /// The flush has failed: the next one includes them.
    pub(super) fn not_flushed(&self, ranges: Vec<(Vec<u8>, Range<u64>)>) {
        self.touched().extend(ranges.into_iter().map(|(line, _)| line));
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

    /// The part of a line that compaction may drop.
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
