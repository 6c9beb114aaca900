//! A store with writes over it that are kept in memory: to rehearse batches without changing anything.

use bytes::Bytes;

use crate::{
    kv::{Family, Kv, KvError, Row, Write, Writes},
    overlay::Overlay,
};

/// A store whose writes are kept in memory, over a store that does not change.
pub struct Layered<'a>(Overlay<'a>);

impl<'a> Layered<'a> {
    /// Without writes so far.
    #[must_use]
    pub fn over(kv: &'a dyn Kv) -> Self {
        Self(Overlay::new(kv))
    }

    /// Makes all writes of a batch.
    pub fn write(&mut self, writes: Writes) {
        for write in writes {
            match write {
                Write::Put { family, key, head, tail } => self.0.put_parts(family, key, head, tail),
                Write::Delete { family, key } => self.0.delete_key(family, key),
                Write::DeleteRange { family, from, to } => self.0.delete_range(family, from, to),
            }
        }
    }
}

impl Kv for Layered<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.0.get(family, key)
    }

    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        self.0.range(family, from, to, limit)
    }

    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError> {
        self.0.last(family, from, at)
    }
}
