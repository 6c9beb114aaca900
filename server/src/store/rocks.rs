//! The rows of all shards, in one RocksDB: how they are written.

use std::{ops::Range, path::PathBuf, sync::Arc};

use posthouse_engine::kv::{Family, Write};
use rocksdb::{Cache, ColumnFamily, DB, FlushOptions, Options, WriteBatch, WriteOptions};

use super::{
    errors::StoreError,
    packs::Packing,
    recent::{Recent, Runs},
    trims::{Trim, Trimmed, Trims, join, split},
};

/// The rows of all shards.
pub struct Store {
    pub(super) db: DB,
    pub(super) path: PathBuf,
    pub(super) cache: Cache,
    /// Without RocksDB's own log.
    pub(super) unlogged: WriteOptions,
    pub(super) trims: Arc<Trims>,
    pub(super) recent: Recent,
    /// Holds the counters.
    pub(super) database: Options,
}

/// The deletions of bodies in a batch, until it is written.
#[derive(Default)]
struct BatchDeletes<'a> {
    trims: Vec<Trim<'a>>,
    /// Lines that are deleted as a whole.
    lines: Vec<Vec<u8>>,
}

impl BatchDeletes<'_> {
    /// What is trimmed of a line after the batch, if the batch trims it.
    fn trimmed(&self, line: &[u8]) -> Option<Option<Trimmed>> {
        let trim = self.trims.iter().rev().find(|trim| trim.line == line);
        match trim {
            Some(trim) => Some(Some(trim.trimmed)),
            None => self.lines.iter().any(|deleted| deleted == line).then_some(None),
        }
    }

    /// Forgets the trims of lines that are deleted as a whole after them, and says which those are.
    fn drain_trims(&mut self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let inside = |trim: &mut Trim<'_>| trim.line >= from && trim.line < to;
        self.trims.extract_if(.., inside).map(|trim| trim.line.to_vec()).collect()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes all of these writes or none. They survive a crash once a [`flush`](Self::flush) that began later is done.
    ///
    /// # Errors
    /// When RocksDB refuses; after that the store must be opened again.
    pub fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Failed { doing: "write to the store", source };
        let mut batch = WriteBatch::with_capacity_bytes(writes.iter().map(size).sum());
        let (mut packing, mut value) = (Packing::default(), Vec::new());
        let (mut runs, mut deletes) = (Runs::default(), BatchDeletes::default());
        let bodies = self.family(Family::Body)?;
        for write in writes {
            if let Write::Put { family: Family::Body, key, head, tail } = write
                && let Some((line, sequence)) = split(key)
            {
                let bytes = head.len() + tail.len();
                runs.add(line, sequence, bytes);
                if !packing.accepts(line, sequence, bytes) {
                    packing.finish(&mut value, |key, value| batch.put_cf(bodies, key, value));
                }
                packing.add(line, sequence, head, tail);
                continue;
            }
            match write {
                Write::Put { family, key, head, tail } => {
                    let mut whole = &head[..];
                    if !tail.is_empty() {
                        value.clear();
                        value.extend_from_slice(head);
                        value.extend_from_slice(tail);
                        whole = &value;
                    }
                    batch.put_cf(self.family(*family)?, key, whole);
                }
                Write::Delete { family: Family::Body, key } if split(key).is_some() => {
                    return Err(StoreError::Unsupported(
                        "stand among others; they are trimmed in their order",
                    ));
                }
                Write::Delete { family, key } => batch.delete_cf(self.family(*family)?, key),
                Write::DeleteRange { family: Family::Body, from, to } if from < to => {
                    packing.finish(&mut value, |key, value| batch.put_cf(bodies, key, value));
                    self.delete_bodies(&mut batch, from, to, &mut deletes)?;
                }
                Write::DeleteRange { family, from, to } if from < to => {
                    batch.delete_range_cf(self.family(*family)?, from, to);
                }
                Write::DeleteRange { .. } => {}
            }
        }
        packing.finish(&mut value, |key, value| batch.put_cf(bodies, key, value));
        // Sequences only rise. A body in the trimmed part of its line would be lost without an error.
        if runs.all().iter().any(|run| self.trims.meets(run.line, run.first, run.last)) {
            return Err(StoreError::BelowTrim);
        }
        self.recent.record(&runs);
        self.db.write_opt(batch, &self.unlogged).map_err(failed)?;
        // In this order: a line may be deleted and trimmed by one batch.
        self.trims.forget(&deletes.lines);
        deletes.trims.iter().for_each(|trim| self.trims.done(trim));
        Ok(())
    }

    /// Trims a line of bodies by a row, with a tombstone only for what may not be flushed yet; or deletes whole lines.
    fn delete_bodies<'a>(
        &self,
        batch: &mut WriteBatch,
        from: &'a [u8],
        to: &'a [u8],
        deletes: &mut BatchDeletes<'a>,
    ) -> Result<(), StoreError> {
        let (bodies, rows) = (self.family(Family::Body)?, self.own_rows()?);
        if let Some(trim) = self.trims.plan(from, to, |line| deletes.trimmed(line))? {
            let line = trim.line;
            batch.put_cf(rows, line, trim.row());
            deletes.trims.push(trim);
            // The row that holds `to` has a key behind it, and stays.
            if let Some(first) =
                self.recent.first(line).map(|first| join(line, first)).filter(|f| f.as_slice() < to)
            {
                batch.delete_range_cf(bodies, first.as_slice().max(from), to);
            }
            return Ok(());
        }
        for line in self.trims.within(from, to).into_iter().chain(deletes.drain_trims(from, to)) {
            batch.delete_cf(rows, &line);
            deletes.lines.push(line);
        }
        batch.delete_range_cf(bodies, from, to);
        // No file may be dropped by its keys: after a purge, new bodies are stored among the old.
        Ok(())
    }

    /// Makes everything that was written before durable, in all families at once, and waits for it.
    ///
    /// # Errors
    /// When RocksDB fails; the log must then not be trimmed.
    pub fn flush(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Failed { doing: "flush the store", source };
        let trimmed = self.trims.to_flush();
        let mut families =
            Family::ALL.into_iter().map(|family| self.family(family)).collect::<Result<Vec<_>, _>>()?;
        families.push(self.own_rows()?);
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        if let Err(source) = self.db.flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &wait) {
            self.trims.not_flushed(trimmed);
            return Err(failed(source));
        }
        self.trims.flushed(&trimmed);
        self.drop_files(&trimmed);
        Ok(())
    }

    /// Removes files that hold nothing but trimmed bodies, without compacting them. The trims must be flushed: a replay
    /// reads bodies again that later batches trim.
    fn drop_files(&self, trimmed: &[(Vec<u8>, Range<u64>)]) {
        let Ok(family) = self.family(Family::Body) else { return };
        for (line, range) in trimmed {
            // RocksDB includes the end: it is the last possible key of a row that is trimmed completely.
            let Some(last) =
                range.end.checked_sub(1).map(|last| [&join(line, last)[..], &[u8::MAX]].concat())
            else {
                continue;
            };
            if let Err(error) = self.db.delete_file_in_range_cf(family, join(line, range.start), last) {
                tracing::warn!(%error, "could not drop files of trimmed bodies; compaction will");
            }
        }
    }

    pub(super) fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StoreError::NoFamily(family.name()))
    }

    /// The family of the store's own rows: line of bodies -> its trimmed part.
    pub(super) fn own_rows(&self) -> Result<&ColumnFamily, StoreError> {
        let name = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        self.db.cf_handle(name).ok_or(StoreError::NoFamily(name))
    }
}

/// The approximate size of a write in a batch, in bytes.
fn size(write: &Write) -> usize {
    let row = match write {
        Write::Put { key, head, tail, .. } => key.len() + head.len() + tail.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    row + 16
}
