//! How rows are read, but for those of [bodies](super::read_bodies).

use bytes::Bytes;
use posthouse_engine::{
    keys::{BodyKey, Key as _},
    kv::{Family, Kv, KvError, Row},
};
use rocksdb::{DBRawIterator, ReadOptions};

use super::{
    errors::StoreError,
    read_bodies::{Amount, unpacked},
    rocks::Store,
};

impl Store {
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
        while let Some((key, value)) = rows.item() {
            match family {
                Family::Body => unpacked(key, value)?.iter().for_each(|(key, _)| visit(key)),
                _ => visit(key),
            }
            rows.next();
        }
        // The end of the rows and an error look alike until the status is read.
        rows.status().map_err(failed)
    }

    /// The value of the row with exactly this key.
    pub(super) fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let failed = |source| StoreError::Failed { doing: "read the store", source };
        let found = self.db.get_pinned_cf(self.family(family)?, key).map_err(failed)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
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
        match (family == Family::Body).then(|| BodyKey::decode(key)).flatten() {
            Some(BodyKey { queue, lane, sequence }) => {
                Ok(self.bodies(queue, lane, &[sequence], Amount::ALL).map_err(unread)?.pop().flatten())
            }
            None => self.plain(family, key).map_err(unread),
        }
    }

    fn range(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        let mut rows = Vec::new();
        if from >= to || limit == 0 {
            return Ok(rows);
        }
        if family == Family::Body {
            return self.range_of_bodies(from, to, limit).map_err(unread);
        }
        let mut iterator = self.iterator(family, from, to.to_vec()).map_err(unread)?;
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if rows.len() == limit {
                return Ok(rows);
            }
            iterator.next();
        }
        // The end of the rows and an error look alike until the status is read.
        iterator.status().map_err(failed_read)?;
        Ok(rows)
    }

    fn last(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Option<Row>, KvError> {
        if from > at {
            return Ok(None);
        }
        if family == Family::Body {
            return self.last_body(from, at).map_err(unread);
        }
        let mut iterator = self.iterator(family, from, [at, &[0]].concat()).map_err(unread)?;
        iterator.seek_for_prev(at);
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
        other @ (StoreError::NoFamily(_)
        | StoreError::BelowTrim
        | StoreError::Unsupported(_)
        | StoreError::NotWhole) => other.to_string(),
    })
}
