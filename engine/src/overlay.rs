//! The rows as a batch sees them: the committed ones, under the changes of the batch's earlier commands.

use bytes::Bytes;
use prost::Message;

use crate::{
    halt::Halt,
    keys::{self, Key},
    kv::{Family, Kv, KvError, Row, Write, Writes},
    sorted_run::SortedRun,
};

/// A row's value in two parts, as a [`Write::Put`] takes it.
type Value = (Bytes, Bytes);

/// The changes of one family. Ranges are deleted first: `rows` has what was written after that.
#[derive(Default)]
struct Changes {
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
    rows: SortedRun<Option<Value>>,
}

impl Changes {
    /// The change of a key: `None` if it is unchanged, `Some(None)` if it was deleted.
    fn get(&self, key: &[u8]) -> Option<Option<&Value>> {
        match self.rows.get(key) {
            Some(value) => Some(value.as_ref()),
            None => self.ranges.iter().any(|(from, to)| &from[..] <= key && key < &to[..]).then_some(None),
        }
    }
}

pub(crate) struct Overlay<'a> {
    kv: &'a dyn Kv,
    changes: [Changes; Family::ALL.len()],
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(kv: &'a dyn Kv) -> Self {
        Self { kv, changes: Default::default() }
    }

    /// The row at a key, decoded.
    pub(crate) fn row<K: Key>(&self, key: &K) -> Result<Option<K::Row>, Halt> {
        self.get(K::FAMILY, &key.encode())?.map(decode_row::<K>).transpose()
    }

    pub(crate) fn put<K: Key>(&mut self, key: &K, row: &K::Row) {
        self.put_parts(K::FAMILY, key.encode(), row.encode_to_vec().into(), Bytes::new());
    }

    pub(crate) fn put_parts(&mut self, family: Family, key: Vec<u8>, head: Bytes, tail: Bytes) {
        self.changes[family as usize].rows.insert(key, Some((head, tail)));
    }

    /// Reserves memory for rows of a family that are put next, by ascending keys.
    pub(crate) fn reserve(&mut self, family: Family, rows: usize) {
        self.changes[family as usize].rows.reserve(rows);
    }

    pub(crate) fn delete<K: Key>(&mut self, key: &K) {
        self.delete_key(K::FAMILY, key.encode());
    }

    pub(crate) fn delete_key(&mut self, family: Family, key: Vec<u8>) {
        self.changes[family as usize].rows.insert(key, None);
    }

    pub(crate) fn delete_range(&mut self, family: Family, from: Vec<u8>, to: Vec<u8>) {
        let changes = &mut self.changes[family as usize];
        changes.rows.remove_range(&from, &to);
        changes.ranges.push((from, to));
    }

    pub(crate) fn delete_prefix(&mut self, family: Family, prefix: Vec<u8>) {
        let end = keys::after(&prefix);
        self.delete_range(family, prefix, end);
    }

    /// The writes for the store, in order.
    pub(crate) fn into_writes(self) -> Writes {
        let mut writes = Vec::with_capacity(self.changes.iter().map(|c| c.ranges.len() + c.rows.len()).sum());
        for (family, changes) in Family::ALL.into_iter().zip(self.changes) {
            writes.extend(changes.ranges.into_iter().map(|(from, to)| Write::DeleteRange {
                family,
                from,
                to,
            }));
            changes.rows.for_each(|(key, value)| {
                writes.push(match value {
                    Some((head, tail)) => Write::Put { family, key, head, tail },
                    None => Write::Delete { family, key },
                });
            });
        }
        writes
    }
}

impl Kv for Overlay<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match self.changes[family as usize].get(key) {
            Some(value) => Ok(value.map(join)),
            None => self.kv.get(family, key),
        }
    }

    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        let changes = &self.changes[family as usize];
        let mut rows = Vec::new();
        let mut from = from.to_vec();
        // Pages grow, so that a long run of deleted rows costs few seeks.
        let mut page_rows = limit;
        while rows.len() < limit && &from[..] < to {
            let page = self.kv.range(family, &from, to, page_rows)?;
            // A full page covers the range up to its last key, any other page all of the range.
            let end = match page.last() {
                Some((key, _)) if page.len() == page_rows => [key, &[0][..]].concat(),
                _ => to.to_vec(),
            };
            let mut changed = changes.rows.range(&from, &end).peekable();
            for (key, value) in page {
                while let Some((changed_key, written)) = changed.next_if(|(changed, _)| changed[..] < key[..])
                {
                    push(&mut rows, changed_key, written.as_ref());
                }
                match changes.get(&key) {
                    None => rows.push((key, value)),
                    // A key that was changed is taken from the changes.
                    Some(_) => continue,
                }
            }
            for (changed_key, written) in changed {
                push(&mut rows, changed_key, written.as_ref());
            }
            from = end;
            page_rows = page_rows.saturating_mul(4).clamp(16, 4_096);
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError> {
        if from > at {
            return Ok(None);
        }
        let changes = &self.changes[family as usize];
        let mut stored = self.kv.last(family, from, at)?;
        // A row that the batch has changed does not count.
        while let Some((key, _)) = &stored
            && changes.get(key).is_some()
        {
            stored = match keys::before(key) {
                Some(before) if &before[..] >= from => self.kv.last(family, from, &before)?,
                _ => None,
            };
        }
        // The key with a zero behind it is the next key.
        let mut changed = changes.rows.descending(from, &[at, &[0]].concat());
        let written = changed.find_map(|(key, value)| Some((key, value.as_ref()?)));
        Ok(match written {
            Some((key, value)) if stored.as_ref().is_none_or(|(stored, _)| stored[..] < key[..]) => {
                Some((Bytes::copy_from_slice(key), join(value)))
            }
            _ => stored,
        })
    }
}

fn push(rows: &mut Vec<Row>, key: &[u8], value: Option<&Value>) {
    if let Some(value) = value {
        rows.push((Bytes::copy_from_slice(key), join(value)));
    }
}

fn join((head, tail): &Value) -> Bytes {
    if tail.is_empty() { head.clone() } else { [&head[..], &tail[..]].concat().into() }
}

/// Decodes a row of a kind.
pub(crate) fn decode_row<K: Key>(value: Bytes) -> Result<K::Row, Halt> {
    K::Row::decode(value).map_err(|error| Halt::Corrupt(format!("a row of kind {:?}: {error}", K::KIND)))
}

/// Decodes a key of a kind.
pub(crate) fn decode_key<K: Key>(key: &[u8]) -> Result<K, Halt> {
    K::decode(key).ok_or_else(|| Halt::Corrupt(format!("a key of kind {:?}", K::KIND)))
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
