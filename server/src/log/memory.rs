//! The log's contract without a disk, for tests and simulation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;

use super::{
    CommitSink, Entry, GroupId, Log, LogError, ProposeError, options::LocalLogOptions, queue::Queue,
};

/// The content of a [`MemLog`], which outlives it: a clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    groups: Mutex<BTreeMap<GroupId, Group>>,
    full: AtomicBool,
    bytes: AtomicU64,
}

/// The entries after `base`.
#[derive(Debug, Default)]
struct Group {
    base: u64,
    entries: Vec<Bytes>,
}

impl MemDisk {
    /// The first and the last index of each group, as [`OpenLog::groups`](super::OpenLog::groups).
    #[must_use]
    pub fn groups(&self) -> BTreeMap<GroupId, (u64, u64)> {
        self.lock()
            .iter()
            .map(|(id, group)| (*id, (group.base + 1, group.base + group.entries.len() as u64)))
            .collect()
    }

    /// The group's entries after `after_index`.
    #[must_use]
    pub fn entries(&self, group: GroupId, after_index: u64) -> Vec<Entry> {
        let groups = self.lock();
        let Some(found) = groups.get(&group) else { return Vec::new() };
        let skip = usize::try_from(after_index.saturating_sub(found.base)).unwrap_or(usize::MAX);
        let numbered = (found.base + 1..).zip(&found.entries).skip(skip);
        numbered.map(|(index, data)| Entry { group, index, data: data.clone() }).collect()
    }

    /// Makes the disk full, or not.
    pub fn set_full(&self, full: bool) {
        self.0.full.store(full, Ordering::SeqCst);
    }

    fn append(&self, proposals: Vec<(GroupId, Bytes)>) -> Vec<Entry> {
        let mut groups = self.lock();
        let position = |(id, data): (GroupId, Bytes)| {
            let group = groups.entry(id).or_default();
            group.entries.push(data.clone());
            self.0.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            Entry { group: id, index: group.base + group.entries.len() as u64, data }
        };
        proposals.into_iter().map(position).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, Group>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log in memory.
#[derive(Debug)]
pub struct MemLog {
    disk: MemDisk,
    queue: Arc<Queue>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl MemLog {
    /// Takes proposals for `disk`. Of the options, those about sizes and waiting hold.
    ///
    /// # Errors
    /// When the committer's thread could not be made.
    pub fn start(
        disk: MemDisk,
        options: &LocalLogOptions,
        sink: Arc<dyn CommitSink>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(options));
        let (own, waiting, group_bytes) = (disk.clone(), Arc::clone(&queue), options.group_bytes);
        let committer = std::thread::Builder::new().name("mem-log".into()).spawn(move || {
            while let Some(proposals) = waiting.pop_batch(group_bytes) {
                if own.0.full.load(Ordering::SeqCst) {
                    waiting.refuse(proposals, &*sink);
                } else {
                    sink.committed(own.append(proposals));
                }
                waiting.unlock();
            }
        })?;
        Ok(Self { disk, queue, committer: Mutex::new(Some(committer)) })
    }
}

impl Log for MemLog {
    fn propose(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.queue.push(group, data)
    }

    fn trim(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        let mut groups = self.disk.lock();
        for (id, applied) in applied {
            if let Some(group) = groups.get_mut(id) {
                let held = group.entries.len();
                let done =
                    usize::try_from(applied.saturating_sub(group.base)).unwrap_or(usize::MAX).min(held);
                group.entries.drain(..done);
                group.base += done as u64;
            }
        }
        self.disk.0.bytes.store(0, Ordering::Relaxed);
        self.queue.unfill();
        Ok(())
    }

    fn bytes_since_trim(&self) -> u64 {
        self.disk.0.bytes.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.queue.close();
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for MemLog {
    fn drop(&mut self) {
        self.close();
    }
}
