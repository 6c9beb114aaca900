//! How rows are read; those of trimmed bodies are not there.

use bytes::{Bytes, BytesMut};
use posthouse_engine::kv::{Family, Kv, KvError, Row};
use rocksdb::{DBPinnableSlice, DBRawIterator, ReadOptions};

use super::errors::StoreError;
use super::rocks::Store;

impl Store {
    /// The bodies at these keys, in their order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn bodies(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let failed = |source| StoreError::Failed { doing: "read message bodies from the store", source };
        let family = self.family(Family::Body)?;
        let hidden = self.trims.hidden(keys);
        let asked: Vec<_> =
            keys.iter().zip(&hidden).filter(|(_, hidden)| !**hidden).map(|(key, _)| key).collect();
        let found = self.db.batched_multi_get_cf(family, asked, keys.is_sorted());
        let found = found.into_iter().map(|body| body.map_err(failed)).collect::<Result<Vec<_>, _>>()?;
        let mut found = copied_together(&found).into_iter();
        Ok(hidden.into_iter().map(|hidden| if hidden { None } else { found.next().flatten() }).collect())
    }

    /// Reads every block of a family's files, deleted rows' too, checks their checksums, and hands the keys to `visit`.
    ///
    /// # Errors
    /// When a file cannot be read or is not what was written; the error names it.
    #[allow(
        deprecated,
        reason = "deprecated for its cost to others; a scan has to read what was deleted, too"
    )]
    pub(crate) fn scan(&self, family: Family, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let failed = |source| StoreError::Failed { doing: "read the store", source };
        let mut all = ReadOptions::default();
        all.set_verify_checksums(true);
        all.set_ignore_range_deletions(true);
        all.fill_cache(false);
        all.set_readahead_size(2 << 20);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family)?, all);
        rows.seek_to_first();
        while let Some(key) = rows.key() {
            visit(key);
            rows.next();
        }
        // The end of the rows and an error look alike until asked.
        rows.status().map_err(failed)
    }

    fn hides(&self, family: Family, key: &[u8]) -> bool {
        family == Family::Body && self.trims.hides(key)
    }

    fn iterator(&self, family: Family, from: &[u8], to: Vec<u8>) -> Result<DBRawIterator<'_>, StoreError> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(from);
        bounds.set_iterate_upper_bound(to);
        bounds.set_background_purge_on_iterator_cleanup(true);
        Ok(self.db.raw_iterator_cf_opt(self.family(family)?, bounds))
    }
}

impl Kv for Store {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        if self.hides(family, key) {
            return Ok(None);
        }
        let found = self.db.get_pinned_cf(self.family(family).map_err(unread)?, key).map_err(failed_read)?;
        Ok(copied(found))
    }

    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        let mut rows = Vec::new();
        if from >= to || limit == 0 {
            return Ok(rows);
        }
        let mut iterator = self.iterator(family, from, to.to_vec()).map_err(unread)?;
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if !self.hides(family, key) {
                rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            }
            if rows.len() == limit {
                return Ok(rows);
            }
            iterator.next();
        }
        // The end of the rows and an error look alike until asked.
        iterator.status().map_err(failed_read)?;
        Ok(rows)
    }

    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError> {
        if from > at {
            return Ok(None);
        }
        let mut iterator = self.iterator(family, from, [at, &[0]].concat()).map_err(unread)?;
        iterator.seek_for_prev(at);
        while iterator.key().is_some_and(|key| self.hides(family, key)) {
            iterator.prev();
        }
        let row =
            iterator.item().map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        iterator.status().map_err(failed_read)?;
        Ok(row)
    }
}

fn failed_read(source: rocksdb::Error) -> KvError {
    unread(StoreError::Failed { doing: "read the store", source })
}

fn unread(error: StoreError) -> KvError {
    KvError(match error {
        StoreError::Failed { source, .. } => source.into_string(),
        other @ (StoreError::NoFamily(_) | StoreError::BelowTrim) => other.to_string(),
    })
}

fn copied(found: Option<DBPinnableSlice<'_>>) -> Option<Bytes> {
    found.map(|value| Bytes::copy_from_slice(&value))
}

/// All of them in one piece of memory: they are read together, and sent together.
fn copied_together(found: &[Option<DBPinnableSlice<'_>>]) -> Vec<Option<Bytes>> {
    let bytes = found.iter().flatten().map(|value| value.len()).sum();
    let mut together = BytesMut::with_capacity(bytes);
    let mut copied = |value: &DBPinnableSlice<'_>| {
        together.extend_from_slice(value);
        together.split().freeze()
    };
    found.iter().map(|value| value.as_ref().map(&mut copied)).collect()
}
