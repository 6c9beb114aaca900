//! The log of a single node.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    CommitSink, GroupId, Log, LogError, LogState, LogWatch, ProposeError,
    committer::Committer,
    open::{self, LogOpenError, OpenLog},
    sealed::SealedSegments,
    writer::Writer,
};

/// How a [`LocalLog`] behaves. The default is what a server wants.
#[derive(Debug, Clone)]
pub struct LocalLogOptions {
    /// Size of a segment file, allocated when it is made.
    pub segment_bytes: u64,
    /// Make the next segment while this one is written, and write it full of zeroes: syncs are faster then.
    pub preallocated_segments: bool,
    /// Recycle the files of trimmed segments while the disk has this much free space besides; `None`: never.
    pub recycle_above_free_bytes: Option<u64>,
    /// Write past the operating system's page cache, where the file system can.
    pub direct_writes: bool,
    /// A group, which one sync makes durable, accepts no further entry when it has this many bytes.
    pub group_bytes: usize,
    /// The largest entry.
    pub entry_bytes: usize,
    /// How much may wait for the disk.
    pub queued_bytes: usize,
    /// How long a proposer waits for capacity before it is answered [`ProposeError::Busy`].
    pub patience: Duration,
    /// How long proposals are refused after the disk was found full before it is tried again.
    pub full_for: Duration,
    /// A write and its sync that take this long are left to the log's own thread.
    pub slow: Duration,
    /// What to do when the disk failed and its content is unknown.
    pub on_fatal: OnFatal,
    /// The receiver of the disk's durations.
    pub watch: Watched,
    #[cfg(test)]
    pub(crate) fault: Option<super::disk::tests::Fault>,
    #[cfg(test)]
    pub(crate) lazy: bool,
}

impl Default for LocalLogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            preallocated_segments: true,
            recycle_above_free_bytes: Some(1 << 30),
            direct_writes: true,
            group_bytes: 4 << 20,
            entry_bytes: 32 << 20,
            queued_bytes: 64 << 20,
            patience: Duration::from_millis(250),
            full_for: Duration::from_secs(1),
            slow: Duration::from_millis(1),
            on_fatal: OnFatal::default(),
            watch: Watched::default(),
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            lazy: false,
        }
    }
}

/// The action after a failed write or sync. By default the process ends: after a failed sync the operating system may
/// have dropped what was written, and a later sync would succeed without it.
#[derive(Clone)]
pub struct OnFatal(Arc<dyn Fn(&str) + Send + Sync>);

impl OnFatal {
    /// Calls `then` instead of ending the process; the log accepts no more proposals and reports nothing more to the
    /// sink.
    pub fn new(then: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(then))
    }

    pub(super) fn call(&self, what: &str) {
        tracing::error!("{what}; what is on disk is not known");
        (self.0)(what);
    }
}

impl Default for OnFatal {
    fn default() -> Self {
        Self::new(|_| std::process::exit(crate::EXIT_IO))
    }
}

impl std::fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFatal")
    }
}

/// The receiver of the disk's durations; by default there is none.
#[derive(Clone, Default)]
pub struct Watched(pub(super) Option<Arc<dyn LogWatch>>);

impl Watched {
    /// By this one.
    pub fn by(watch: Arc<dyn LogWatch>) -> Self {
        Self(Some(watch))
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

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

    /// Reads the log in `dir` only to look into it: files are opened for reading, and what is returned must not be
    /// started.
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
