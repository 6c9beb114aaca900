//! The rows of all shards, in one RocksDB: how they are written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthouse_engine::kv::{Family, Write};
use rocksdb::{Cache, ColumnFamily, DB, FlushOptions, WriteBatch, WriteOptions};

use super::errors::StoreError;
use super::recent::{Recent, Runs};
use super::trims::{Trim, Trims, join, split};

/// The rows of all shards.
pub struct Store {
    pub(super) db: DB,
    pub(super) path: PathBuf,
    pub(super) cache: Cache,
    pub(super) unlogged: WriteOptions,
    pub(super) trims: Arc<Trims>,
    pub(super) recent: Recent,
    /// Body ranges that were deleted otherwise than by a trim, and not yet flushed.
    pub(super) deleted_bodies: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// What a batch deletes of the bodies, for when it is written.
#[derive(Default)]
struct Gone<'a> {
    trims: Vec<Trim<'a>>,
    /// Lines that nothing is left of.
    lines: Vec<Vec<u8>>,
    /// Other ranges within a line.
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Takes all of these writes or none. They survive a crash once a [`flush`](Self::flush) that began later is done.
    ///
    /// # Errors
    /// When RocksDB refuses; after that the store must be opened anew.
    pub fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Failed { doing: "write to the store", source };
        let mut batch = WriteBatch::with_capacity_bytes(writes.iter().map(size).sum());
        let (mut joined, mut runs, mut gone) = (Vec::new(), Runs::default(), Gone::default());
        for write in writes {
            match write {
                Write::Put { family, key, head, tail } => {
                    let value = if tail.is_empty() {
                        &head[..]
                    } else {
                        joined.clear();
                        joined.extend_from_slice(head);
                        joined.extend_from_slice(tail);
                        &joined[..]
                    };
                    if *family == Family::Body {
                        runs.add(key, value.len());
                    }
                    batch.put_cf(self.family(*family)?, key, value);
                }
                Write::Delete { family, key } => batch.delete_cf(self.family(*family)?, key),
                Write::DeleteRange { family: Family::Body, from, to } if from < to => {
                    self.delete_bodies(&mut batch, from, to, &mut gone)?;
                }
                Write::DeleteRange { family, from, to } if from < to => {
                    batch.delete_range_cf(self.family(*family)?, from, to);
                }
                Write::DeleteRange { .. } => {}
            }
        }
        // Sequences only rise. A body below what its line has trimmed would be lost without a word.
        if runs.all().iter().any(|run| self.trims.meets(run.line, run.first, run.last)) {
            return Err(StoreError::BelowTrim);
        }
        self.recent.note(&runs);
        self.db.write_opt(batch, &self.unlogged).map_err(failed)?;
        // In this order: a line may be deleted and trimmed by one batch.
        self.trims.forget(&gone.lines);
        gone.trims.iter().for_each(|trim| self.trims.done(trim));
        self.lock_deleted().extend(gone.ranges);
        Ok(())
    }

    /// Trims a line of bodies by a row, with a tombstone only for what may not be flushed yet; or deletes another range.
    fn delete_bodies<'a>(
        &self,
        batch: &mut WriteBatch,
        from: &'a [u8],
        to: &'a [u8],
        gone: &mut Gone<'a>,
    ) -> Result<(), StoreError> {
        let (bodies, rows) = (self.family(Family::Body)?, self.own_rows()?);
        if let Some(trim) = self.trims.plan(from, to) {
            let line = trim.line;
            batch.put_cf(rows, line, trim.row());
            gone.trims.push(trim);
            if let Some(first) =
                self.recent.first(line).map(|first| join(line, first)).filter(|f| f.as_slice() < to)
            {
                batch.delete_range_cf(bodies, first.as_slice().max(from), to);
            }
            return Ok(());
        }
        for line in self.trims.within(from, to) {
            batch.delete_cf(rows, &line);
            gone.lines.push(line);
        }
        batch.delete_range_cf(bodies, from, to);
        // Of a whole queue no file may be dropped by its keys: after a purge, new bodies stand among the old.
        if split(from).is_some() {
            gone.ranges.push((from.into(), to.into()));
        }
        Ok(())
    }

    /// Makes everything written before durable, all families together, and waits for it.
    ///
    /// # Errors
    /// When RocksDB fails; the log must then not be trimmed.
    pub fn flush(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Failed { doing: "flush the store", source };
        let (deleted, trimmed) = (std::mem::take(&mut *self.lock_deleted()), self.trims.to_flush());
        let mut families =
            Family::ALL.into_iter().map(|family| self.family(family)).collect::<Result<Vec<_>, _>>()?;
        families.push(self.own_rows()?);
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        if let Err(source) = self.db.flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &wait) {
            self.lock_deleted().extend(deleted);
            self.trims.not_flushed(trimmed);
            return Err(failed(source));
        }
        self.trims.flushed(&trimmed);
        let trimmed = trimmed.iter().map(|(line, gone)| (join(line, gone.start), join(line, gone.end)));
        self.drop_files(deleted.into_iter().chain(trimmed));
        Ok(())
    }

    /// Removes files that hold nothing but deleted bodies, without compacting them. The deletes must be flushed: a
    /// replay reads bodies again that later batches delete.
    fn drop_files(&self, deleted: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
        let Ok(family) = self.family(Family::Body) else { return };
        for (from, to) in deleted {
            // RocksDB counts the end as inside.
            let Some(last) = before(&to) else { continue };
            if let Err(error) = self.db.delete_file_in_range_cf(family, &from, &last) {
                tracing::warn!(%error, "could not drop files of trimmed bodies; compaction will");
            }
        }
    }

    pub(super) fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StoreError::NoFamily(family.name()))
    }

    /// The family of the store's own rows: line of bodies -> what is trimmed of it.
    pub(super) fn own_rows(&self) -> Result<&ColumnFamily, StoreError> {
        let name = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        self.db.cf_handle(name).ok_or(StoreError::NoFamily(name))
    }

    fn lock_deleted(&self) -> MutexGuard<'_, Vec<(Vec<u8>, Vec<u8>)>> {
        self.deleted_bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes a write takes in a batch, about.
fn size(write: &Write) -> usize {
    let row = match write {
        Write::Put { key, head, tail, .. } => key.len() + head.len() + tail.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    row + 16
}

/// The greatest key of the same length that is less than `key`.
fn before(key: &[u8]) -> Option<Vec<u8>> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            return Some(before);
        }
    }
    None
}
