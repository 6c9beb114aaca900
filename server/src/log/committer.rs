//! The writer of the log: acquires the write lock, writes the waiting proposals as one group, syncs once, reports to
//! the sink.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    CommitSink, GroupId, ProposeError,
    format::{RECORD_HEADER, group_len},
    options::{LocalLogOptions, OnFatal},
    queue::{Proposal, Queue},
    writer::{AppendError, Writer},
};

/// The most bytes of a proposal that its proposer writes itself: more take long to encode.
const MAX_INLINE_BYTES: usize = 128 << 10;

/// Shared by its own thread, which writes the waiting proposals, and by proposers that write their own while nobody
/// else does.
pub(super) struct Committer {
    writer: Mutex<Writer>,
    pub queue: Queue,
    sink: Arc<dyn CommitSink>,
    group_bytes: usize,
    on_fatal: OnFatal,
    /// How large a group a proposer may write.
    inline_bytes: AtomicU64,
}

impl Committer {
    pub fn new(writer: Writer, sink: Arc<dyn CommitSink>, options: &LocalLogOptions) -> Self {
        Self {
            writer: Mutex::new(writer),
            queue: Queue::new(options),
            sink,
            group_bytes: options.group_bytes,
            on_fatal: options.on_fatal.clone(),
            inline_bytes: AtomicU64::new(0),
        }
    }

    /// Writes a proposal on the caller's thread, if nobody else writes, nothing waits, and the write is expected to be
    /// short; otherwise passes it to the log's thread.
    pub fn commit_inline(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        let bytes = group_len(RECORD_HEADER + data.len());
        if data.len() > MAX_INLINE_BYTES || bytes > self.inline_bytes.load(Ordering::Relaxed) {
            return self.queue.push(group, data);
        }
        if let Some(proposal) = self.queue.push_or_lock(group, data)? {
            self.commit(vec![proposal]);
        }
        Ok(())
    }

    /// The thread, until the close.
    pub fn run(&self) {
        let _guard = Guard(self);
        while let Some(proposals) = self.queue.pop_batch(self.group_bytes) {
            self.commit(proposals);
        }
        // Nobody knows what the disk has if the log was abandoned.
        if self.queue.is_abandoned() {
            return;
        }
        // Nothing depends on the mark; a full disk may go without.
        if let Err(AppendError::Fatal(error)) = self.writer().mark() {
            self.on_fatal.call(&error.to_string());
        }
    }

    /// Writes these proposals under the write lock, reports to the sink, and releases the lock.
    fn commit(&self, proposals: Vec<Proposal>) {
        let _guard = WriteGuard(self);
        let written = {
            let mut writer = self.writer();
            let written = writer.append(&proposals);
            self.inline_bytes.store(writer.inline_bytes(), Ordering::Relaxed);
            written
        };
        match written {
            Ok(entries) => self.sink.committed(entries),
            Err(AppendError::NoSpace) => {
                tracing::warn!("the log's disk is full; proposals are refused until there is space");
                self.queue.refuse(proposals, &*self.sink);
            }
            Err(AppendError::Fatal(error)) => {
                self.queue.abandon();
                self.on_fatal.call(&error.to_string());
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic is the end of the log: no proposer waits for an outcome that will not arrive.
struct Guard<'a>(&'a Committer);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Committer { queue, on_fatal, .. } = self.0;
        if std::thread::panicking() && !queue.is_abandoned() {
            queue.abandon();
            on_fatal.call("a write of the log panicked");
        }
    }
}

/// Releases the write lock.
struct WriteGuard<'a>(&'a Committer);

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        drop(Guard(self.0));
        self.0.queue.unlock();
    }
}
