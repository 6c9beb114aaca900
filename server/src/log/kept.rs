//! The segments that are finished, until nothing in them is needed, and then their files, of which the next ones are made: they
//! are as fast as files of zeroes and need not be written for it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::sync_dir;
use super::spare::Spare;
use super::{GroupId, LogError};

/// The extension of a file that waits to be a segment again.
const REUSABLE: &str = "spare";
/// How many wait at most: about what is written from one trim to the next.
const MOST_REUSABLE: usize = 6;

/// A segment that is finished, and the last index of each group in it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub path: PathBuf,
    pub last: BTreeMap<GroupId, u64>,
}

/// The finished segments, shared with whoever trims.
#[derive(Debug, Default)]
pub(super) struct Kept {
    sealed: Mutex<VecDeque<Sealed>>,
    bytes: AtomicU64,
    reusable: Mutex<VecDeque<PathBuf>>,
    /// The size of a file that is used again; 0: none is.
    reused_bytes: u64,
}

impl Kept {
    /// Nothing yet, but the files in `dir` that were kept for use again, if any are to be: those of this size.
    pub fn new(dir: &Path, reused_bytes: u64) -> io::Result<Self> {
        let mut reusable = VecDeque::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != REUSABLE) {
                continue;
            }
            if reusable.len() < MOST_REUSABLE && fs::metadata(&path)?.len() == reused_bytes {
                reusable.push_back(path);
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { reusable: Mutex::new(reusable), reused_bytes, ..Self::default() })
    }

    /// Removes the oldest segments as long as all their entries are applied, each durably before the next. Some of their files
    /// stay, under names that are no segments'.
    pub fn trim(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        let mut sealed = self.lock();
        let is_applied =
            |(group, last): (&GroupId, &u64)| applied.get(group).is_some_and(|applied| applied >= last);
        while let Some(oldest) = sealed.front()
            && oldest.last.iter().all(is_applied)
        {
            let reusable = self.reusable_name(&oldest.path);
            let removed = match &reusable {
                Some(name) => fs::rename(&oldest.path, name),
                None => fs::remove_file(&oldest.path),
            };
            // A repeated call finds the file gone if only the folder could not be synced.
            let removed = match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
            let synced = removed.and_then(|()| oldest.path.parent().map_or(Ok(()), sync_dir));
            // Only now can no crash bring the segment back.
            self.lock_reusable().extend(reusable.filter(|_| synced.is_ok()));
            synced.map_err(|source| LogError {
                doing: "remove the log segment",
                path: oldest.path.clone(),
                source,
            })?;
            sealed.pop_front();
        }
        self.bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Takes over the segments found at the start, and the size of the log.
    pub fn remember(&self, sealed: VecDeque<Sealed>, bytes: u64) {
        *self.lock() = sealed;
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// One more is finished.
    pub fn add(&self, sealed: Sealed) {
        self.lock().push_back(sealed);
    }

    /// The log has grown by so many bytes.
    pub fn grew(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bytes_since_trim(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many finished segments are still needed.
    pub fn sealed(&self) -> usize {
        self.lock().len()
    }

    /// Whether a file waits to be used again.
    pub fn has_reusable(&self) -> bool {
        !self.lock_reusable().is_empty()
    }

    /// One that has so many bytes, at least.
    pub fn take_reusable(&self, least: u64) -> Option<Spare> {
        let path = (self.reused_bytes >= least).then(|| self.lock_reusable().pop_front())??;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        match file.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((bytes, file)) if bytes == self.reused_bytes => {
                Some(Spare { file, path, bytes, reused: true })
            }
            // Somebody else was there; a segment can be made without it.
            _ => None,
        }
    }

    /// The name under which a segment's file is kept for use again, if it is.
    fn reusable_name(&self, segment: &Path) -> Option<PathBuf> {
        let fits = fs::metadata(segment).is_ok_and(|about| about.len() == self.reused_bytes);
        (fits && self.lock_reusable().len() < MOST_REUSABLE).then(|| segment.with_extension(REUSABLE))
    }

    fn lock_reusable(&self) -> MutexGuard<'_, VecDeque<PathBuf>> {
        self.reusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sealed>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
