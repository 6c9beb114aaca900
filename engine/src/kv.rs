//! Access to storage, by bytes: reads through a trait, and the writes of a batch as values.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A column family. There are few, and none per tenant or queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Message bodies, and relocated ones.
    Body,
    /// The facts of each publish that `apply` needs.
    Entry,
    /// Definitions, heads, ack state, leases, retries, producer sessions.
    State,
    /// Timers.
    Timer,
    /// The shard's own row, and the catalogue.
    Meta,
}

impl Family {
    /// Every family, in a fixed order.
    pub const ALL: [Self; 5] = [Self::Body, Self::Entry, Self::State, Self::Timer, Self::Meta];

    /// The name of the family in the store; it is persisted and never changed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Entry => "entry",
            Self::State => "state",
            Self::Timer => "timer",
            Self::Meta => "meta",
        }
    }
}

/// The store could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct KvError(pub String);

/// A row: key and value.
pub type Row = (Bytes, Bytes);

/// Reads of committed rows.
pub trait Kv {
    /// The value at `key`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, KvError>;

    /// At most `limit` rows with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError>;

    /// The last row with `from <= key <= at`. All keys of the range must have one length.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError>;
}

/// One change to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a row. Its value is `head` followed by `tail`, so that a body is not copied to get its header.
    Put {
        /// The family.
        family: Family,
        /// The key.
        key: Vec<u8>,
        /// The value's first part.
        head: Bytes,
        /// The value's second part, often empty.
        tail: Bytes,
    },
    /// Removes a row, if it exists.
    Delete {
        /// The family.
        family: Family,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every row with `from <= key < to`.
    DeleteRange {
        /// The family.
        family: Family,
        /// First key removed.
        from: Vec<u8>,
        /// First key that is not removed.
        to: Vec<u8>,
    },
}

impl Write {
    /// The family it changes.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Put { family, .. } | Self::Delete { family, .. } | Self::DeleteRange { family, .. } => {
                *family
            }
        }
    }
}

/// The writes of one batch, in the order of [`Family::ALL`] and then of keys, ranges first: the store takes all of
/// them or none.
pub type Writes = Vec<Write>;

/// A store in memory, for tests and simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemKv {
    rows: BTreeMap<(Family, Vec<u8>), Bytes>,
}

impl MemKv {
    /// Makes all writes of a batch.
    pub fn write(&mut self, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Put { family, key, head, tail } => {
                    let value =
                        if tail.is_empty() { head.clone() } else { [&head[..], &tail[..]].concat().into() };
                    self.rows.insert((*family, key.clone()), value);
                }
                Write::Delete { family, key } => {
                    self.rows.remove(&(*family, key.clone()));
                }
                Write::DeleteRange { family, from, to } => {
                    let keys: Vec<_> = self
                        .rows
                        .range((*family, from.clone())..(*family, to.clone()))
                        .map(|(k, _)| k.clone())
                        .collect();
                    for key in keys {
                        self.rows.remove(&key);
                    }
                }
            }
        }
    }

    /// All rows, by family and key.
    pub fn rows(&self) -> impl Iterator<Item = (Family, &[u8], &Bytes)> {
        self.rows.iter().map(|((family, key), value)| (*family, key.as_slice(), value))
    }
}

impl Kv for MemKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.rows.get(&(family, key.to_vec())).cloned())
    }

    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range((family, from.to_vec())..(family, to.to_vec()));
        Ok(rows.take(limit).map(|((_, key), value)| (Bytes::copy_from_slice(key), value.clone())).collect())
    }

    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError> {
        if from > at {
            return Ok(None);
        }
        let row = self.rows.range((family, from.to_vec())..=(family, at.to_vec())).next_back();
        Ok(row.map(|((_, key), value)| (Bytes::copy_from_slice(key), value.clone())))
    }
}
