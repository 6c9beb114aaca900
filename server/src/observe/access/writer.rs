//! Lines into a file, by a thread of their own, in the order they were handed over.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::sync::mpsc;

use crate::{limits::MAX_ACCESS_RECORDS_WAITING, observe::Metrics};

/// How often it is looked whether the file was moved away, to begin another, and how long a failed write pauses.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a failing write is told to the log.
const TELL_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Writer {
    lines: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    closing: Arc<AtomicBool>,
    waits: IntCounter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn stdout(metrics: &Metrics) -> io::Result<Self> {
        Self::start(Target { path: None, file: None, inode: 0 }, metrics)
    }

    pub(super) fn file(path: &Path, metrics: &Metrics) -> io::Result<Self> {
        let mut target = Target { path: Some(path.to_owned()), file: None, inode: 0 };
        target.open()?;
        Self::start(target, metrics)
    }

    fn start(target: Target, metrics: &Metrics) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel(MAX_ACCESS_RECORDS_WAITING);
        let own = &metrics.own;
        let closing = Arc::<AtomicBool>::default();
        let run = Run {
            target,
            waiting,
            written: own.access_records.clone(),
            failures: own.access_failures.clone(),
            closing: Arc::clone(&closing),
            told: None,
        };
        let thread = thread::Builder::new().name("access".to_owned()).spawn(move || run.run())?;
        Ok(Self {
            lines: Mutex::new(Some(lines)),
            closing,
            waits: own.access_waits.clone(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands a line over, and waits while too many wait.
    pub(super) async fn write(&self, line: Vec<u8>) {
        let Some(lines) = self.sender() else { return };
        if let Err(mpsc::error::TrySendError::Full(line)) = lines.try_send(line) {
            self.waits.inc();
            // The thread ends only after this sender is gone.
            let _ = lines.send(line).await;
        }
    }

    /// The same for who cannot wait: a task does.
    pub(super) fn write_later(&self, line: Vec<u8>) {
        let Some(lines) = self.sender() else { return };
        if let Err(mpsc::error::TrySendError::Full(line)) = lines.try_send(line)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.waits.inc();
            runtime.spawn(async move {
                let _ = lines.send(line).await;
            });
        }
    }

    /// Takes no more, and returns when all is written, or cannot be.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }

    fn sender(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread.
struct Run {
    target: Target,
    waiting: mpsc::Receiver<Vec<u8>>,
    written: IntCounter,
    failures: IntCounter,
    closing: Arc<AtomicBool>,
    told: Option<Instant>,
}

impl Run {
    fn run(mut self) {
        let mut looked = Instant::now();
        let mut lines = Vec::new();
        while self.waiting.blocking_recv_many(&mut lines, MAX_ACCESS_RECORDS_WAITING) > 0 {
            if looked.elapsed() >= LOOK_EVERY {
                self.target.look();
                looked = Instant::now();
            }
            let bytes = lines.concat();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                match self.target.write(rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(error) if self.closing.load(Ordering::Acquire) => {
                        // The server ends, and must not wait for a disk that was full all along.
                        let records = lines.len() + self.waiting.len();
                        return tracing::error!(%error, records, "the last access records are lost");
                    }
                    Err(error) => self.failed(&error),
                }
            }
            self.told = None;
            self.written.inc_by(lines.len() as u64);
            lines.clear();
        }
        self.target.sync();
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures.inc();
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::error!(%error, "access records cannot be written: calls wait until they can; make room");
        }
        thread::sleep(LOOK_EVERY);
        self.target.look();
    }
}

/// A file, or standard output.
#[derive(Debug)]
struct Target {
    path: Option<PathBuf>,
    file: Option<File>,
    inode: u64,
}

impl Target {
    fn open(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        self.inode = file.metadata()?.ino();
        self.file = Some(file);
        Ok(())
    }

    /// Begins a new file if the old one was moved away.
    fn look(&mut self) {
        let Some(path) = &self.path else { return };
        if fs::metadata(path).is_ok_and(|found| found.ino() == self.inode) {
            return;
        }
        self.sync();
        if let Err(error) = self.open() {
            tracing::warn!(%error, "the access file cannot be opened again; the old one is written on");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.file {
            Some(file) => file.write(bytes),
            None => io::stdout().write(bytes).and_then(|written| io::stdout().flush().map(|()| written)),
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    fn sync(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(%error, "the access file could not be synced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(&[]).unwrap()
    }

    #[tokio::test]
    async fn more_than_may_wait_is_written_in_order_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (path, metrics) = (folder.path().join("access.jsonl"), metrics());
        let writer = Writer::file(&path, &metrics).unwrap();
        let count = 3 * MAX_ACCESS_RECORDS_WAITING;
        for number in 0..count {
            writer.write(format!("{number}\n").into_bytes()).await;
        }
        tokio::task::spawn_blocking(move || writer.close()).await.unwrap();
        let expected: String = (0..count).map(|number| format!("{number}\n")).collect();
        assert!(fs::read_to_string(&path).unwrap() == expected);
        assert_eq!(metrics.own.access_records.get(), count as u64);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_that_fails_holds_callers_up_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, metrics) = (folder.path().join("access.jsonl"), metrics());
        // What nobody can write to.
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let writer = Writer::file(&path, &metrics).unwrap();
        writer.write(b"first\n".to_vec()).await;
        while metrics.own.access_failures.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fs::remove_file(&path).unwrap();
        writer.write(b"second\n".to_vec()).await;
        while metrics.own.access_records.get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_that_fails_does_not_keep_the_server_from_ending() {
        let folder = tempfile::tempdir().unwrap();
        let (path, metrics) = (folder.path().join("access.jsonl"), metrics());
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let writer = Arc::new(Writer::file(&path, &metrics).unwrap());
        let held = Arc::clone(&writer);
        let callers = tokio::spawn(async move {
            for _ in 0..3 * MAX_ACCESS_RECORDS_WAITING {
                held.write(b"line\n".to_vec()).await;
            }
        });
        while metrics.own.access_waits.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::task::spawn_blocking(move || writer.close()).await.unwrap();
        callers.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, metrics) = (folder.path().join("access.jsonl"), metrics());
        let writer = Writer::file(&path, &metrics).unwrap();
        writer.write(b"old\n".to_vec()).await;
        while metrics.own.access_records.get() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fs::rename(&path, folder.path().join("access.1")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !path.exists() {
            assert!(Instant::now() < deadline, "no new file");
            writer.write(b"more\n".to_vec()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
