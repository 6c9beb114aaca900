//! The rows of all shards, in one RocksDB.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use posthouse_engine::kv::{Family, Kv, KvError, Row, Write};
use rocksdb::{
    Cache, ColumnFamily, DB, DBPinnableSlice, DBRawIterator, FlushOptions, Options, ReadOptions, WriteBatch,
    WriteOptions, properties,
};

use super::errors::{StoreError, StoreOpenError, has_rows, is_made, judge};
use super::options::{self, StoreOptions};
use super::recent::{Recent, Runs};
use super::trims::{Trim, Trims, join, split};

/// How the store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHealth {
    /// Flushes and compactions that failed since the start. Anything but 0 needs somebody to look.
    pub background_errors: u64,
    /// Whether writes wait for compaction.
    pub write_stopped: bool,
    /// Bytes compaction has yet to rewrite, about.
    pub pending_compaction_bytes: u64,
    /// Bytes of memory held by the block cache.
    pub cache_bytes: u64,
    /// Bytes of memory held by rows that wait for a flush.
    pub memtable_bytes: u64,
    /// Bytes of memory held by open files, outside the block cache.
    pub reader_bytes: u64,
    /// Bytes of live data, about.
    pub live_data_bytes: u64,
    /// Bytes of all table files.
    pub file_bytes: u64,
}

/// The rows of all shards.
pub struct Store {
    db: DB,
    path: PathBuf,
    cache: Cache,
    unlogged: WriteOptions,
    trims: Arc<Trims>,
    recent: Recent,
    /// Body ranges that were deleted otherwise than by a trim, and not yet flushed.
    deleted_bodies: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
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
    /// Opens the store in `dir`, or makes an empty one where there is none.
    ///
    /// # Errors
    /// When it is in use, damaged, or written by a newer version.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self, StoreOpenError> {
        let path = dir.to_path_buf();
        let judge = |source: rocksdb::Error| judge(&path, source);
        let database = options::database(options);
        if is_made(&path)? {
            refuse_newer(&database, &path)?;
        }
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let trims = Arc::new(Trims::default());
        let families = options::families(options, &cache, &trims);
        let db = DB::open_cf_descriptors(&database, &path, families).map_err(judge)?;
        Self::of(db, path, cache, trims, options)
    }

    /// Opens the store in `dir` only to look into it: nothing is made or changed.
    ///
    /// # Errors
    /// When there is none, or it is damaged, or written by a newer version.
    pub fn inspect(dir: &Path, options: &StoreOptions) -> Result<Self, StoreOpenError> {
        let path = dir.to_path_buf();
        let judge = |source: rocksdb::Error| judge(&path, source);
        if !has_rows(&path)? {
            return Err(StoreOpenError::Missing { path });
        }
        let mut database = options::database(options);
        database.create_if_missing(false);
        database.create_missing_column_families(false);
        refuse_newer(&database, &path)?;
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let trims = Arc::new(Trims::default());
        let families = options::families(options, &cache, &trims);
        let db = DB::open_cf_descriptors_read_only(&database, &path, families, false).map_err(judge)?;
        Self::of(db, path, cache, trims, options)
    }

    fn of(
        db: DB,
        path: PathBuf,
        cache: Cache,
        trims: Arc<Trims>,
        options: &StoreOptions,
    ) -> Result<Self, StoreOpenError> {
        if let Some(what) = damaged_file(&db).map_err(|source| judge(&path, source))? {
            return Err(StoreOpenError::Damaged { path, what });
        }
        if let Some(what) = load(&db, &trims).map_err(|source| judge(&path, source))? {
            return Err(StoreOpenError::Damaged { path, what });
        }
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let recent = Recent::new(options.write_buffer_bytes / 2);
        Ok(Self { db, path, cache, unlogged, trims, recent, deleted_bodies: Mutex::default() })
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

    /// Bytes free for this process on the store's disk.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How the store is doing. Cheap enough to ask every second.
    ///
    /// # Errors
    /// When RocksDB does not say.
    pub fn health(&self) -> Result<StoreHealth, StoreError> {
        let failed = |source| StoreError::Failed { doing: "ask the store for its health", source };
        let mut health = StoreHealth {
            background_errors: self
                .db
                .property_int_value(properties::BACKGROUND_ERRORS)
                .map_err(failed)?
                .unwrap_or(0),
            write_stopped: false,
            pending_compaction_bytes: 0,
            cache_bytes: self.cache.get_usage() as u64,
            memtable_bytes: 0,
            reader_bytes: 0,
            live_data_bytes: 0,
            file_bytes: 0,
        };
        for family in Family::ALL {
            let family = self.family(family)?;
            let ask = |name| {
                Ok::<_, StoreError>(self.db.property_int_value_cf(family, name).map_err(failed)?.unwrap_or(0))
            };
            health.write_stopped |= ask(properties::IS_WRITE_STOPPED)? != 0;
            health.pending_compaction_bytes += ask(properties::ESTIMATE_PENDING_COMPACTION_BYTES)?;
            health.memtable_bytes += ask(properties::SIZE_ALL_MEM_TABLES)?;
            health.reader_bytes += ask(properties::ESTIMATE_TABLE_READERS_MEM)?;
            health.live_data_bytes += ask(properties::ESTIMATE_LIVE_DATA_SIZE)?;
            health.file_bytes += ask(properties::TOTAL_SST_FILES_SIZE)?;
        }
        Ok(health)
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

    fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StoreError::NoFamily(family.name()))
    }

    /// The family of the store's own rows: line of bodies -> what is trimmed of it.
    fn own_rows(&self) -> Result<&ColumnFamily, StoreError> {
        let name = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        self.db.cf_handle(name).ok_or(StoreError::NoFamily(name))
    }

    fn lock_deleted(&self) -> MutexGuard<'_, Vec<(Vec<u8>, Vec<u8>)>> {
        self.deleted_bodies.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
impl Store {
    /// Compacts all bodies, and waits for it.
    pub(super) fn compact_bodies(&self) {
        let family = self.family(Family::Body).unwrap();
        let mut wait = rocksdb::CompactOptions::default();
        wait.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &wait);
    }

    /// Deletions in the files of bodies, point and range.
    pub(super) fn tombstones(&self) -> u64 {
        let files = self.db.live_files().unwrap();
        files.iter().filter(|file| file.column_family_name == "body").map(|file| file.num_deletions).sum()
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

/// Refuses a store with families that are not known here.
fn refuse_newer(database: &Options, path: &Path) -> Result<(), StoreOpenError> {
    let known = Family::ALL.map(Family::name);
    for family in DB::list_cf(database, path).map_err(|source| judge(path, source))? {
        if family != rocksdb::DEFAULT_COLUMN_FAMILY_NAME && !known.contains(&family.as_str()) {
            return Err(StoreOpenError::Newer { path: path.into(), family });
        }
    }
    Ok(())
}

/// Reads what is trimmed; a row that cannot be understood.
fn load(db: &DB, trims: &Trims) -> Result<Option<String>, rocksdb::Error> {
    let Some(family) = db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME) else { return Ok(None) };
    let mut rows = db.raw_iterator_cf(family);
    rows.seek_to_first();
    while let Some((line, row)) = rows.item() {
        if !trims.load(line, row) {
            return Ok(Some(format!("a row of {} bytes should say what is trimmed", row.len())));
        }
        rows.next();
    }
    rows.status().map(|()| None)
}

/// A file that belongs to the store and is not there, or is longer or shorter than it was written. RocksDB itself would
/// notice when it reads the file.
fn damaged_file(db: &DB) -> Result<Option<String>, rocksdb::Error> {
    let length =
        |name: &str| std::fs::metadata(db.path().join(name.trim_start_matches('/'))).map(|file| file.len());
    for file in db.live_files()? {
        if length(&file.name).is_ok_and(|length| length == file.size as u64) {
            continue;
        }
        // Compaction may have done away with it in the meantime.
        if let Some(file) = db.live_files()?.into_iter().find(|live| live.name == file.name) {
            let found =
                length(&file.name).map_or_else(|error| error.to_string(), |length| format!("{length} bytes"));
            return Ok(Some(format!("{} should have {} bytes, found {found}", file.name, file.size)));
        }
    }
    Ok(None)
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
