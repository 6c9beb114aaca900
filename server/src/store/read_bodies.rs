//! How bodies are read: out of [packs](super::packs), and not those that were trimmed.

use bytes::Bytes;
use posthouse_engine::{
    ids::{Lane, QueueRef},
    keys,
    kv::{Family, Row},
};
use rocksdb::{DBRawIterator, ReadOptions};

use super::{
    errors::StoreError,
    packs::{PACK_BYTES, Pack},
    rocks::Store,
    trims::join,
};

/// Most that is read from a file in one piece.
const MAX_READ_AHEAD: usize = 1 << 20;

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// The approximate size of each body; 0 if it is not known.
    pub body_bytes: usize,
    /// Reading ends once this many bytes were read, after one body at least.
    pub max_bytes: usize,
}

impl Amount {
    /// Whatever their sizes.
    pub const ALL: Self = Self { body_bytes: 0, max_bytes: usize::MAX };
}

impl Store {
    /// The bodies of a lane at these sequences, in order, as many as the amount allows: one at least. Consecutive ones
    /// are one copy in memory; if most are consecutive, each file is read ahead by their approximate size.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn bodies(
        &self,
        queue: QueueRef,
        lane: Lane,
        sequences: &[u64],
        amount: Amount,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let line = &keys::line(queue, lane)[..];
        let trimmed = self.trims.trimmed(line);
        let (mut bodies, mut bytes) = (Vec::with_capacity(sequences.len()), 0);
        let ahead =
            near(sequences).saturating_mul(amount.body_bytes).min(amount.max_bytes).min(MAX_READ_AHEAD);
        let mut rows = Rows { store: self, line, ahead, iterator: None, last: None };
        while let Some(sequence) = sequences.get(bodies.len()).filter(|_| bytes < amount.max_bytes) {
            let read = bodies.len();
            let pack = if trimmed.contains(sequence) { None } else { rows.holding(*sequence)? };
            match pack {
                None => bodies.push(None),
                Some(pack) => {
                    let wanted = (*sequence..=pack.last).zip(&sequences[read..]);
                    let consecutive =
                        wanted.take_while(|(next, wanted)| next == *wanted && !trimmed.contains(next));
                    let end = sequence + consecutive.count() as u64;
                    bodies.extend(pack.copied(*sequence..end).map(Some));
                }
            }
            bytes += bodies[read..].iter().flatten().map(Bytes::len).sum::<usize>();
        }
        Ok(bodies)
    }

    /// At most `limit` bodies with `from <= key < to`, ascending.
    pub(super) fn range_of_bodies(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        let mut rows = self.bodies_from(from, to)?;
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            for (key, body) in unpacked(key, value)? {
                if key.as_slice() >= to || found.len() == limit {
                    return Ok(found);
                }
                if key.as_slice() >= from && !self.trims.hides(&key) {
                    found.push((key.into(), Bytes::copy_from_slice(body)));
                }
            }
            rows.next();
        }
        // The end of the rows and an error look alike until the status is read.
        rows.status().map_err(failed)?;
        Ok(found)
    }

    /// The last body with `from <= key <= at`.
    pub(super) fn last_body(&self, from: &[u8], at: &[u8]) -> Result<Option<Row>, StoreError> {
        let mut rows = self.bodies_from(from, at)?;
        // The row that holds it may end behind it.
        rows.seek(at);
        if !rows.valid() {
            rows.seek_to_last();
        }
        while let Some((key, value)) = rows.item() {
            for (key, body) in unpacked(key, value)?.into_iter().rev() {
                if key.as_slice() < from {
                    return Ok(None);
                }
                if key.as_slice() <= at && !self.trims.hides(&key) {
                    return Ok(Some((key.into(), Bytes::copy_from_slice(body))));
                }
            }
            rows.prev();
        }
        rows.status().map_err(failed)?;
        Ok(None)
    }

    /// The rows from a key to the one that holds what is before another.
    fn bodies_from(&self, from: &[u8], to: &[u8]) -> Result<DBRawIterator<'_>, StoreError> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(from);
        bounds.set_iterate_upper_bound(keys::after_line(to));
        self.all_bodies(bounds)
    }

    fn all_bodies(&self, mut bounds: ReadOptions) -> Result<DBRawIterator<'_>, StoreError> {
        bounds.set_background_purge_on_iterator_cleanup(true);
        Ok(self.db.raw_iterator_cf_opt(self.family(Family::Body)?, bounds))
    }
}

/// Key and value of a body, or of another row among them.
type Unpacked<'a> = (Vec<u8>, &'a [u8]);

/// The keys and values that a row contains.
pub(super) fn unpacked<'a>(key: &'a [u8], value: &'a [u8]) -> Result<Vec<Unpacked<'a>>, StoreError> {
    match Pack::of(key, value)? {
        Some(pack) => Ok(pack.rows()),
        None => Ok(vec![(key.to_vec(), value)]),
    }
}

/// Rows of a line that are read in the order of the sequences, mostly consecutive ones.
struct Rows<'a, 'k> {
    store: &'a Store,
    line: &'k [u8],
    /// Bytes that are read in one piece, from the first block on that is not in memory.
    ahead: usize,
    /// `None` until the first read.
    iterator: Option<DBRawIterator<'a>>,
    /// The last sequence of the row that the iterator is at.
    last: Option<u64>,
}

impl Rows<'_, '_> {
    /// The row that holds a body.
    fn holding(&mut self, sequence: u64) -> Result<Option<Pack<'_>>, StoreError> {
        let behind = self.last.is_some_and(|last| last.checked_add(1) == Some(sequence));
        let iterator = match &mut self.iterator {
            Some(iterator) => iterator,
            none => {
                let mut options = ReadOptions::default();
                // A block is read at once anyway.
                if self.ahead > PACK_BYTES {
                    options.set_readahead_size(self.ahead - PACK_BYTES);
                }
                none.insert(self.store.all_bodies(options)?)
            }
        };
        match behind {
            true => iterator.next(),
            false => iterator.seek(join(self.line, sequence)),
        }
        iterator.status().map_err(failed)?;
        self.last = None;
        let Some((key, value)) = iterator.item() else { return Ok(None) };
        let pack = Pack::of(key, value)?.filter(|pack| pack.holds(self.line, sequence));
        self.last = pack.map(|pack| pack.last);
        Ok(pack)
    }
}

/// How many bodies are from the first to the last of these sequences, if the last is not before the first and they are
/// at least half of what is there; otherwise 0.
fn near(sequences: &[u64]) -> usize {
    let Some((first, last)) = sequences.first().zip(sequences.last()) else { return 0 };
    let span = last.checked_sub(*first).and_then(|behind| usize::try_from(behind).ok()?.checked_add(1));
    span.filter(|span| *span <= 2 * sequences.len()).unwrap_or(0)
}

fn failed(source: rocksdb::Error) -> StoreError {
    StoreError::Failed { doing: "read message bodies from the store", source }
}
