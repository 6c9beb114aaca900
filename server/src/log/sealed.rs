//! The segments that are finished, until nothing in them is needed, and then their files, until they are segments
//! again.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{GroupId, LogError, disk::sync_dir, recycle::RecycledFiles};

/// A segment that is finished, and the last index of each group in it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub path: PathBuf,
    pub last: BTreeMap<GroupId, u64>,
}

/// The finished segments, shared with the thread that trims.
#[derive(Debug)]
pub(super) struct SealedSegments {
    segments: Mutex<VecDeque<Sealed>>,
    bytes: AtomicU64,
    /// What happens to the files of trimmed segments.
    pub recycled: RecycledFiles,
}

impl SealedSegments {
    /// Nothing yet.
    pub fn new(recycled: RecycledFiles) -> Self {
        Self { segments: Mutex::default(), bytes: AtomicU64::default(), recycled }
    }

    /// Removes the oldest segments as long as all their entries are applied, each durably before the next. Some of
    /// their files stay, under names that are no segments'.
    pub fn trim(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        self.recycled.free_disk_space();
        let mut sealed = self.lock();
        let is_applied =
            |(group, last): (&GroupId, &u64)| applied.get(group).is_some_and(|applied| applied >= last);
        while let Some(oldest) = sealed.front()
            && oldest.last.iter().all(is_applied)
        {
            let prepared = self.recycled.name_for(&oldest.path);
            let removed = match &prepared {
                Some(prepared) => fs::rename(&oldest.path, prepared),
                None => fs::remove_file(&oldest.path),
            };
            // A repeated call finds the file removed if only the folder could not be synced.
            let removed = match removed {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
            let synced = removed.and_then(|()| oldest.path.parent().map_or(Ok(()), sync_dir));
            synced.map_err(|source| LogError {
                doing: "remove the log segment",
                path: oldest.path.clone(),
                source,
            })?;
            sealed.pop_front();
            if let Some(prepared) = prepared {
                self.recycled.add(prepared);
            }
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

    /// The log has grown by these bytes.
    pub fn grew(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bytes_since_trim(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many finished segments are still needed.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sealed>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
