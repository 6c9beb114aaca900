//! The facts of a message's publish. They are read once per publish, and from memory for a consumer that keeps up.

use std::collections::VecDeque;

use super::message;
use crate::{
    body::wall_time,
    halt::Halt,
    ids::QueueRef,
    keys::{self, EntryKey, Key, Kind},
    kv::{Kv as _, Row},
    limits::READING_PAGE,
    overlay::{Overlay, decode_key, decode_row},
    schema::{DeadLetterOrigin, EntryRow, QueueHeadRow},
    state::{Entries, Entry, Queue, Subscription},
};

/// The first sequence and the row of the publish of a message; `None` if it was trimmed.
pub(crate) fn row(
    rows: &Overlay<'_>,
    queue: QueueRef,
    sequence: u64,
) -> Result<Option<(u64, EntryRow)>, Halt> {
    let at = EntryKey { queue, first_sequence: sequence }.encode();
    let found = rows.last(EntryKey::FAMILY, &keys::kind_prefix(queue, Kind::Entry), &at)?;
    let Some((key, value)) = found else { return Ok(None) };
    let first_sequence = decode_key::<EntryKey>(&key)?.first_sequence;
    let row = decode_row::<EntryKey>(value)?;
    let inside = sequence - first_sequence < row.payload_bytes.len() as u64;
    Ok(inside.then_some((first_sequence, row)))
}

/// The publish of a message; it must not be trimmed.
pub(crate) fn find(
    rows: &Overlay<'_>,
    recent: &Entries,
    queue: QueueRef,
    sequence: u64,
) -> Result<Entry, Halt> {
    if let Some(entry) = recent.find(sequence) {
        return Ok(entry);
    }
    match row(rows, queue, sequence)? {
        Some((first_sequence, row)) => Ok(of(first_sequence, &row)),
        None => Err(Halt::Corrupt(format!("message {sequence} of {queue:?} has no entry"))),
    }
}

/// The publish that begins at a sequence.
pub(crate) fn beginning_at(rows: &Overlay<'_>, queue: &Queue, first_sequence: u64) -> Result<Entry, Halt> {
    if let Some(entry) = queue.known(first_sequence) {
        return Ok(entry);
    }
    let queue = queue.id;
    match rows.row(&EntryKey { queue, first_sequence })? {
        Some(row) => Ok(of(first_sequence, &row)),
        None => Err(Halt::Corrupt(format!("no entry of {queue:?} begins at {first_sequence}"))),
    }
}

/// At most `limit` publishes in order: from the one that begins at `from`, to the last that begins before `to`.
pub(crate) fn following(
    rows: &Overlay<'_>,
    queue: QueueRef,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<VecDeque<Entry>, Halt> {
    let at = |first_sequence| EntryKey { queue, first_sequence }.encode();
    let found = rows.range(EntryKey::FAMILY, &at(from), &at(to), limit)?;
    let entry = |(key, value): Row| {
        Ok(of(decode_key::<EntryKey>(&key)?.first_sequence, &decode_row::<EntryKey>(value)?))
    };
    found.into_iter().map(entry).collect()
}

const fn of(first_sequence: u64, row: &EntryRow) -> Entry {
    Entry {
        first_sequence,
        count: row.payload_bytes.len() as u64,
        published_at_ms: row.published_at_ms,
        stored_bytes: row.stored_bytes,
    }
}

impl EntryRow {
    /// The publish time that is shown: the wall clock's, Unix milliseconds.
    pub(crate) const fn wall_published_at_ms(&self) -> u64 {
        wall_time(self.published_at_ms, self.wall_ahead_ms)
    }
}

/// The facts of one message.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The time of the publish's batch.
    pub(crate) published_at_ms: u64,
    pub(crate) wall_published_at_ms: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) origin: Option<DeadLetterOrigin>,
    /// The sequence after the last message of its publish.
    pub(crate) end: u64,
}

/// Reads the facts of messages in ascending order, and each publish once.
#[derive(Default)]
pub(crate) struct FactReader {
    last: Option<(u64, EntryRow)>,
    /// Bytes of the bodies that had to be read.
    pub(crate) body_bytes: usize,
}

impl FactReader {
    /// The facts of a message that is not settled, or was not trimmed.
    pub(crate) fn read(
        &mut self,
        rows: &Overlay<'_>,
        head: &QueueHeadRow,
        subscription: &Subscription,
        sequence: u64,
    ) -> Result<Facts, Halt> {
        if sequence < head.trimmed {
            let body = message::read(rows, subscription, sequence)?;
            self.body_bytes += body.len();
            let header = message::split(body, subscription, sequence)?.0;
            return Ok(Facts {
                published_at_ms: header.published_at_ms,
                wall_published_at_ms: header.wall_published_at_ms(),
                payload_bytes: header.payload_bytes,
                origin: header.dead_letter,
                end: sequence + 1,
            });
        }
        let queue = subscription.id.queue;
        let last = self.last.take().filter(|(first, row)| of(*first, row).holds(sequence));
        let found = match last {
            Some(last) => Some(last),
            None => row(rows, queue, sequence)?,
        };
        let index = |first: u64| usize::try_from(sequence - first).unwrap_or(usize::MAX);
        let Some((first, row, payload_bytes)) = found.and_then(|(first, row)| {
            row.payload_bytes.get(index(first)).copied().map(|size| (first, row, size))
        }) else {
            return Err(Halt::Corrupt(format!("message {sequence} of {queue:?} has no entry")));
        };
        let facts = Facts {
            published_at_ms: row.published_at_ms,
            wall_published_at_ms: row.wall_published_at_ms(),
            payload_bytes,
            origin: row.dead_letter.clone(),
            end: of(first, &row).end(),
        };
        self.last = Some((first, row));
        Ok(facts)
    }
}

/// Reads the stored bytes of messages in ascending order. They are exact for a message that was published alone; else
/// they are its share of its publish, by payload.
#[derive(Default)]
pub(crate) struct SizeReader {
    last: Option<(u64, EntryRow)>,
    /// The sum of the weights of the messages of `last`.
    weights: u64,
}

impl SizeReader {
    /// The stored bytes of a message that was not trimmed.
    pub(crate) fn read(
        &mut self,
        rows: &Overlay<'_>,
        recent: &Entries,
        queue: QueueRef,
        sequence: u64,
    ) -> Result<u64, Halt> {
        if let Some(size) = self.known(sequence) {
            return Ok(size);
        }
        if let Some(entry) = recent.find(sequence).filter(|entry| entry.count == 1) {
            return Ok(entry.stored_bytes);
        }
        self.last = row(rows, queue, sequence)?;
        self.weights = self.last.iter().flat_map(|(_, row)| &row.payload_bytes).copied().map(weight).sum();
        self.known(sequence)
            .ok_or_else(|| Halt::Corrupt(format!("message {sequence} of {queue:?} has no entry")))
    }

    fn known(&self, sequence: u64) -> Option<u64> {
        let (first, row) = self.last.as_ref()?;
        let index = usize::try_from(sequence.checked_sub(*first)?).ok()?;
        let weight = weight(*row.payload_bytes.get(index)?);
        row.stored_bytes.saturating_mul(weight).checked_div(self.weights)
    }
}

/// A message's share of its publish: its payload, and about as much as its header takes.
const fn weight(payload_bytes: u32) -> u64 {
    payload_bytes as u64 + 64
}

/// Reads the publish times of messages in ascending order.
pub(crate) struct PublishTimes<'a> {
    head: &'a QueueHeadRow,
    recent: &'a Entries,
    last: Option<Entry>,
}

impl<'a> PublishTimes<'a> {
    pub(crate) const fn new(head: &'a QueueHeadRow, recent: &'a Entries) -> Self {
        Self { head, recent, last: None }
    }

    pub(crate) fn of(
        &mut self,
        rows: &Overlay<'_>,
        subscription: &mut Subscription,
        sequence: u64,
    ) -> Result<u64, Halt> {
        if let Some(last) = self.last.filter(|last| last.holds(sequence)) {
            return Ok(last.published_at_ms);
        }
        if sequence < self.head.trimmed {
            let body = message::read(rows, subscription, sequence)?;
            return Ok(message::split(body, subscription, sequence)?.0.published_at_ms);
        }
        let entry = match self.recent.find(sequence).or_else(|| subscription.reading.find(sequence)) {
            Some(entry) => entry,
            None => self.read(rows, subscription, sequence)?,
        };
        self.last = Some(entry);
        Ok(entry.published_at_ms)
    }

    /// Reads the publish of a message, and the next ones too if it follows the last publish that was read.
    fn read(
        &self,
        rows: &Overlay<'_>,
        subscription: &mut Subscription,
        sequence: u64,
    ) -> Result<Entry, Halt> {
        let queue = subscription.id.queue;
        let page = match subscription.reading.end() {
            Some(end) if end == sequence => {
                following(rows, queue, sequence, self.head.next_sequence, READING_PAGE)?
            }
            _ => VecDeque::from([find(rows, self.recent, queue, sequence)?]),
        };
        subscription.reading.read(page);
        subscription
            .reading
            .find(sequence)
            .ok_or_else(|| Halt::Corrupt(format!("message {sequence} of {queue:?} has no entry")))
    }
}
