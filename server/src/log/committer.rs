//! The one thread that writes: takes what waits, writes it as one group, syncs once, tells the sink.

use std::sync::Arc;

use super::CommitSink;
use super::local::OnFatal;
use super::queue::Queue;
use super::writer::{AppendError, Writer};

/// The committer's thread, from the first proposal to the close.
pub(super) struct Committer {
    pub writer: Writer,
    pub queue: Arc<Queue>,
    pub sink: Arc<dyn CommitSink>,
    pub group_bytes: usize,
    pub on_fatal: OnFatal,
}

impl Committer {
    pub fn run(mut self) {
        let _guard = Abandon { queue: Arc::clone(&self.queue), on_fatal: self.on_fatal.clone() };
        while let Some(proposals) = self.queue.take(self.group_bytes) {
            match self.writer.append(&proposals) {
                Ok(entries) => self.sink.committed(entries),
                Err(AppendError::NoSpace) => {
                    tracing::warn!("the log's disk is full; proposals are refused until there is space");
                    self.queue.refuse(proposals, &*self.sink);
                }
                Err(AppendError::Fatal(error)) => {
                    return self.on_fatal.call(&error.to_string(), Some(&error.source));
                }
            }
        }
        // Nothing depends on the mark; a full disk may go without.
        if let Err(AppendError::Fatal(error)) = self.writer.mark() {
            self.on_fatal.call(&error.to_string(), Some(&error.source));
        }
    }
}

/// Lets nobody wait for a committer that is gone.
struct Abandon {
    queue: Arc<Queue>,
    on_fatal: OnFatal,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.queue.abandon();
        if std::thread::panicking() {
            self.on_fatal.call("the log's committer panicked", None);
        }
    }
}
