//! Free disk space. Publishes are refused before the disk is full, so that consuming, which needs a little space, goes
//! on.
//!
//! Other programs may fill the disk nevertheless. So a file beside the data, the ballast, reserves space. It is removed
//! when there is almost no space left, and at each start, since opening the store needs some.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{
    limits::{BALLAST_PART, CHECK_PART, FLUSH_WHEN_FULL_INTERVAL},
    store::{Flusher, Store},
};

/// How often free space is measured.
const INTERVAL: Duration = Duration::from_millis(500);

/// Decides whether publishes are accepted.
#[derive(Debug)]
pub(crate) struct DiskGuard {
    min_free_bytes: u64,
    ballast: Ballast,
    full: AtomicBool,
    /// Bytes published since the last measurement.
    published: AtomicU64,
}

/// Room that is held for bad times.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
    /// It was said that none can be held.
    warned: AtomicBool,
}

impl DiskGuard {
    /// A guard that refuses publishes while less is free than this.
    pub(crate) fn new(min_free_bytes: u64, ballast: Ballast) -> Self {
        Self { min_free_bytes, ballast, full: AtomicBool::new(false), published: AtomicU64::new(0) }
    }

    /// Whether a publish of these bytes is accepted. A fast disk fills between two measurements, so publishers measure
    /// too.
    pub(crate) fn accepts(&self, store: &Store, bytes: u64) -> bool {
        let published = self.published.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if published >= self.min_free_bytes / CHECK_PART {
            self.measure(store);
        }
        !self.is_full()
    }

    /// Whether publishes are refused since too little is free.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Measures free space until the task is dropped. While there is too little, the store is flushed at intervals, so
    /// that the log can remove what was consumed.
    pub(crate) async fn watch(self: Arc<Self>, store: Arc<Store>, flusher: Arc<Flusher>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        let mut flushed: Option<Instant> = None;
        loop {
            ticks.tick().await;
            self.check(&store);
            if !self.is_full() {
                flushed = None;
            } else if flushed.is_none_or(|at| at.elapsed() >= FLUSH_WHEN_FULL_INTERVAL) {
                flushed = Some(Instant::now());
                flusher.request();
            }
        }
    }

    pub(crate) fn check(&self, store: &Store) {
        if let Some(free) = self.measure(store) {
            self.ballast.check(free, self.min_free_bytes);
        }
    }

    fn measure(&self, store: &Store) -> Option<u64> {
        self.published.store(0, Ordering::Relaxed);
        // Not knowing is no reason to refuse: a full disk refuses by itself.
        let unknown = |why: &io::Error| error!(%why, "the room on the disk cannot be read");
        let free = store.free_bytes().inspect_err(unknown).ok()?;
        let full = free < self.min_free_bytes;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                warn!(free_bytes = free, "the disk is nearly full: publishes are refused, consuming goes on");
            } else {
                info!(free_bytes = free, "there is room on the disk again: publishes are taken");
            }
        }
        Some(free)
    }
}

impl Ballast {
    /// The ballast in this folder, for a server that keeps this many bytes free. An existing ballast is removed: the
    /// start may need its space.
    pub(crate) fn new(data: &Path, min_free_bytes: u64) -> Self {
        let ballast = Self {
            path: data.join("BALLAST"),
            bytes: min_free_bytes / BALLAST_PART,
            held: AtomicBool::new(true),
            warned: AtomicBool::new(false),
        };
        ballast.release();
        ballast
    }

    fn check(&self, free: u64, min_free_bytes: u64) {
        if !self.held.load(Ordering::Relaxed) {
            if free > min_free_bytes.saturating_add(self.bytes.saturating_mul(2)) {
                self.hold();
            }
        } else if free < self.bytes / 2 {
            warn!(
                free_bytes = free,
                bytes = self.bytes,
                "the disk is full: the room held for this is given up"
            );
            self.release();
        }
    }

    fn hold(&self) {
        match allocate(&self.path, self.bytes) {
            Ok(()) => {
                self.held.store(true, Ordering::Relaxed);
                self.warned.store(false, Ordering::Relaxed);
            }
            Err(why) => {
                // Once: some file systems can never reserve space, and each measurement tries again.
                if !self.warned.swap(true, Ordering::Relaxed) {
                    warn!(%why, file = %self.path.display(), "no room can be held for a full disk");
                }
                self.release();
            }
        }
    }

    fn release(&self) {
        match fs::remove_file(&self.path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                warn!(%why, file = %self.path.display(), "the room held for a full disk cannot be given up");
            }
            _ => self.held.store(false, Ordering::Relaxed),
        }
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ballast_is_held_while_there_is_room_and_given_up_when_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("BALLAST");
        let ballast = Ballast::new(folder.path(), 4 * MIB);
        ballast.check(5 * MIB, 4 * MIB);
        assert!(!file.exists(), "too little is left to hold any of it");
        ballast.check(7 * MIB, 4 * MIB);
        assert_eq!(file.metadata().unwrap().len(), MIB);
        ballast.check(3 * MIB, 4 * MIB);
        assert!(file.exists(), "it is for worse times");
        ballast.check(MIB / 4, 4 * MIB);
        assert!(!file.exists());
        ballast.check(7 * MIB, 4 * MIB);
        assert!(file.exists());
        // A reservation that fails is tried again, and logged once.
        let missing = Ballast::new(&folder.path().join("missing"), 4 * MIB);
        for _ in 0..3 {
            missing.check(7 * MIB, 4 * MIB);
            assert!(missing.warned.load(Ordering::Relaxed) && !missing.held.load(Ordering::Relaxed));
        }
        fs::create_dir(folder.path().join("missing")).unwrap();
        missing.check(7 * MIB, 4 * MIB);
        assert!(!missing.warned.load(Ordering::Relaxed) && missing.held.load(Ordering::Relaxed));
        // A start needs it.
        drop(Ballast::new(folder.path(), 4 * MIB));
        assert!(!file.exists());
    }
}
