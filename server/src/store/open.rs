//! How the store is opened, and when it is not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use posthouse_engine::kv::Family;
use rocksdb::{Cache, DB, Options, WriteOptions};

use super::{
    errors::{StoreOpenError, has_rows, is_made, judge},
    options::{self, StoreOptions},
    recent::Recent,
    rocks::Store,
    trims::Trims,
};

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
        Self::of(db, path, cache, trims, options, database)
    }

    /// Opens the store in `dir` for an inspection: nothing is made or changed.
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
        Self::of(db, path, cache, trims, options, database)
    }

    fn of(
        db: DB,
        path: PathBuf,
        cache: Cache,
        trims: Arc<Trims>,
        options: &StoreOptions,
        database: Options,
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
        Ok(Self { db, path, cache, unlogged, trims, recent, database })
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
