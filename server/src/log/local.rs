//! The log of a single node.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use super::{
    CommitSink, GroupId, Log, LogError, LogState, ProposeError,
    committer::Committer,
    errors::LogOpenError,
    open::{self, OpenLog},
    options::LocalLogOptions,
    sealed::SealedSegments,
    writer::Writer,
};

/// A log in segment files of its own, written by one thread at a time, which syncs once for all groups.
pub struct LocalLog {
    committer: Arc<Committer>,
    sealed: Arc<SealedSegments>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LocalLog {
    /// Reads the log in `dir`, which is made if it is not there. Changes nothing of what is there.
    ///
    /// # Errors
    /// When the log is damaged beyond a torn tail, was written by a newer version, or cannot be read.
    pub fn open(dir: &Path, options: LocalLogOptions) -> Result<OpenLog, LogOpenError> {
        open::open(dir, options)
    }

    /// Reads the log in `dir` for an inspection: files are opened for reading only, and the result must not be started.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn inspect(dir: &Path) -> Result<OpenLog, LogOpenError> {
        open::inspect(dir)
    }

    pub(super) fn start(
        writer: Writer,
        sink: Arc<dyn CommitSink>,
        options: &LocalLogOptions,
    ) -> Result<Self, LogError> {
        let (sealed, dir) = (writer.sealed(), writer.dir().to_path_buf());
        let committer = Arc::new(Committer::new(writer, sink, options));
        let running = Arc::clone(&committer);
        let thread = std::thread::Builder::new()
            .name("log-committer".into())
            .spawn(move || running.run())
            .map_err(|source| LogError { doing: "start the committer of the log in", path: dir, source })?;
        Ok(Self { committer, sealed, thread: Mutex::new(Some(thread)) })
    }

    #[cfg(test)]
    pub(super) fn is_unlocked(&self) -> bool {
        self.committer.queue.is_unlocked()
    }
}

impl Log for LocalLog {
    fn propose(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.committer.queue.push(group, data)
    }

    fn propose_inline(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.committer.commit_inline(group, data)
    }

    fn trim(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        self.sealed.trim(applied)?;
        self.committer.queue.unfill();
        Ok(())
    }

    fn bytes_since_trim(&self) -> u64 {
        self.sealed.bytes_since_trim()
    }

    fn state(&self) -> LogState {
        let (queued_entries, queued_bytes) = self.committer.queue.waiting();
        LogState { queued_entries, queued_bytes, segments: self.sealed.count() + 1 }
    }

    fn close(&self) {
        self.committer.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        self.close();
    }
}
