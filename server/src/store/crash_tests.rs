//! The store after a kill and after damage: whole up to some batch, or refused; and the flusher above it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_LANE, DepartmentId, QueueId, QueueRef},
    keys,
    kv::{Family, Kv, KvError, MemKv, Row, Write},
};

use super::{Flusher, FlusherOptions, Store, StoreOpenError, StoreOptions, conformance_tests::small};
use crate::log::{CommitSink, Entry, GroupId, LocalLog, LocalLogOptions, Log, ProposeError};

const APPLIED: &[u8] = b"applied";

/// The writes of the nth batch: rows in every family, and the applied index beside them.
fn batch(nth: u64) -> Vec<Write> {
    let key = |at: u64| at.to_be_bytes().to_vec();
    let queue = QueueRef { department: DepartmentId(1), queue: QueueId(1) };
    let body = |at| keys::body(queue, DEFAULT_LANE, at);
    let put =
        |family, key, value: Vec<u8>| Write::Put { family, key, head: value.into(), tail: Bytes::new() };
    let mut writes = vec![
        put(Family::Body, body(nth), vec![nth as u8; 2_000]),
        put(Family::Entry, key(nth), vec![nth as u8; 40]),
        put(Family::State, key(nth % 7), nth.to_le_bytes().to_vec()),
        put(Family::Timer, key(nth), Vec::new()),
        put(Family::Meta, APPLIED.to_vec(), nth.to_le_bytes().to_vec()),
    ];
    if nth >= 10 {
        writes.push(Write::Delete { family: Family::Timer, key: key(nth - 10) });
    }
    if nth.is_multiple_of(100) && nth >= 200 {
        writes.push(Write::DeleteRange { family: Family::Body, from: body(nth - 200), to: body(nth - 100) });
    }
    writes
}

fn model(applied: u64) -> MemKv {
    let mut model = MemKv::default();
    (1..=applied).for_each(|nth| model.write(&batch(nth)));
    model
}

fn applied(store: &Store) -> Result<u64, KvError> {
    let row = store.get(Family::Meta, APPLIED)?;
    Ok(row.map_or(0, |row| u64::from_le_bytes(row[..].try_into().unwrap())))
}

fn rows(store: &dyn Kv) -> Result<Vec<Vec<Row>>, KvError> {
    Family::ALL.into_iter().map(|family| store.range(family, &[], &[0xFF; 9], usize::MAX)).collect()
}

/// Requires a state that some batch left, and says which.
fn whole(store: &Store) -> Result<u64, KvError> {
    let applied = applied(store)?;
    let found = rows(store)?;
    assert!(found == rows(&model(applied)).unwrap(), "families disagree after batch {applied}");
    Ok(applied)
}

/// The killed process of the tests. It is no test by itself: it runs until it is killed.
#[test]
#[ignore = "run by a_killed_process_leaves_the_families_at_one_batch"]
fn writer_that_is_killed() {
    let Ok(dir) = std::env::var("POSTHOUSE_TEST_STORE") else { return };
    let store = Store::open(Path::new(&dir), &small()).unwrap();
    for nth in applied(&store).unwrap() + 1.. {
        store.write(&batch(nth)).unwrap();
        if nth.is_multiple_of(1_013) {
            store.flush().unwrap();
            // Past the harness, which would keep it.
            use std::io::Write as _;
            #[allow(clippy::disallowed_methods)]
            writeln!(std::io::stderr(), "flushed {nth}").unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_the_families_at_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let name = "store::crash_tests::writer_that_is_killed";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env("POSTHOUSE_TEST_STORE", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let flushed =
            lines.map(|line| line.unwrap()).filter_map(|line| line.strip_prefix("flushed ")?.parse().ok());
        let flushed: u64 = flushed.take(round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(dir.path(), &small()).unwrap();
        let applied = whole(&store).unwrap();
        assert!(applied >= flushed, "batch {flushed} was flushed, but only {applied} is there");
    }
}

/// A store with some files, closed.
fn made() -> (tempfile::TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    for nth in 1..=600 {
        store.write(&batch(nth)).unwrap();
        if nth.is_multiple_of(300) {
            store.flush().unwrap();
        }
    }
    (dir, 600)
}

/// RocksDB cleans up when it opens, so each attempt has a folder of its own.
fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files(dir, |name| name != "LOCK") {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

fn holds_rows(name: &str) -> bool {
    name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst")
}

fn files(dir: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        names.filter(|path| is_wanted(path.file_name().unwrap().to_str().unwrap())).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn refused(dir: &Path, what: &str) {
    match Store::open(dir, &small()) {
        Ok(_) => panic!("opened with {what}"),
        Err(error) => {
            assert!(matches!(error, StoreOpenError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains("restore the folder from a backup"), "{error}");
        }
    }
}

#[test]
fn missing_and_cut_files_are_refused() {
    let (dir, last) = made();
    for path in files(dir.path(), holds_rows) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let copy = copied(dir.path());
        fs::remove_file(copy.path().join(name)).unwrap();
        refused(copy.path(), &format!("{name} missing"));
        let copy = copied(dir.path());
        let half = fs::metadata(&path).unwrap().len() / 2;
        fs::OpenOptions::new().write(true).open(copy.path().join(name)).unwrap().set_len(half).unwrap();
        // A manifest may end early, as after a crash; the log refuses a store that is behind it.
        if !name.starts_with("MANIFEST") {
            refused(copy.path(), &format!("{name} cut"));
        }
    }
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    assert_eq!(whole(&store).unwrap(), last);
}

#[test]
fn flipped_bytes_are_noticed_when_opened_or_read() {
    let (dir, last) = made();
    let (mut flipped, mut noticed) = (0, 0);
    for path in files(dir.path(), holds_rows) {
        for part in 0..4 {
            let copy = copied(dir.path());
            let path = copy.path().join(path.file_name().unwrap());
            let mut bytes = fs::read(&path).unwrap();
            let at = (bytes.len() - 1) * part / 3;
            bytes[at] ^= 0x20;
            fs::write(&path, bytes).unwrap();
            flipped += 1;
            match Store::open(copy.path(), &small()).map(|store| whole(&store)) {
                Ok(Ok(applied)) => assert!(applied <= last),
                Ok(Err(_)) | Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed * 2 > flipped, "only {noticed} of {flipped} flips were noticed");
}

#[test]
fn an_unknown_family_is_refused_as_newer() {
    let (dir, _) = made();
    let names = Family::ALL.map(Family::name);
    let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), names).unwrap();
    db.create_cf("later", &rocksdb::Options::default()).unwrap();
    drop(db);
    let error = Store::open(dir.path(), &small()).unwrap_err();
    assert!(matches!(&error, StoreOpenError::Newer { family, .. } if family == "later"), "{error}");
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path(), &small()).unwrap();
    let error = Store::open(dir.path(), &small()).unwrap_err();
    assert!(matches!(error, StoreOpenError::InUse { .. }), "{error:?}");
}

/// Applies every entry as it is committed.
struct Applier {
    store: Arc<Store>,
    applied: Arc<AtomicU64>,
}

impl CommitSink for Applier {
    fn committed(&self, entries: Vec<Entry>) {
        for entry in entries {
            self.store.write(&batch(entry.index)).unwrap();
            self.applied.store(entry.index, Ordering::SeqCst);
        }
    }

    fn refused(&self, group: GroupId, _: Vec<Bytes>, why: ProposeError) {
        panic!("{group}: {why}");
    }
}

#[test]
fn the_log_is_trimmed_below_the_flushed_store_and_never_above() {
    let dir = tempfile::tempdir().unwrap();
    let (log_dir, store_dir) = (dir.path().join("log"), dir.path().join("store"));
    let options =
        LocalLogOptions { segment_bytes: 64 << 10, group_bytes: 4 << 10, ..LocalLogOptions::default() };
    let group = GroupId(0);
    let mut total = 0;
    for _restart in 0..3 {
        let store = Arc::new(Store::open(&store_dir, &small()).unwrap());
        let open = LocalLog::open(&log_dir, options.clone()).unwrap();
        let flushed = whole(&store).unwrap();
        open.check_applied(&BTreeMap::from([(group, flushed)])).unwrap();
        open.replay(group, flushed, &mut |entry| store.write(&batch(entry.index))).unwrap();
        assert_eq!(whole(&store).unwrap(), total);

        let applied = Arc::new(AtomicU64::new(total));
        let sink = Applier { store: store.clone(), applied: applied.clone() };
        let log: Arc<dyn Log> = Arc::new(open.start(Arc::new(sink)).unwrap());
        let flusher = Flusher::start(
            store,
            log.clone(),
            FlusherOptions { every_bytes: 300 << 10, poll_interval: Duration::from_millis(1) },
            Box::new(move || BTreeMap::from([(group, applied.load(Ordering::SeqCst))])),
            |flushed| assert!(flushed.is_ok(), "{flushed:?}"),
        )
        .unwrap();
        for _ in 0..1_000 {
            log.propose(group, vec![7; 1_000]).unwrap();
            total += 1;
        }
        // The background flush keeps the log short.
        let deadline = Instant::now() + Duration::from_secs(30);
        while log.bytes_since_trim() >= 300 << 10 {
            assert!(Instant::now() < deadline, "nothing trims the log");
            std::thread::yield_now();
        }
        log.close();
        flusher.flush().unwrap();
        drop(flusher);
        assert!(LocalLog::open(&log_dir, options.clone()).unwrap().groups()[&group].0 > 1);
    }
}
