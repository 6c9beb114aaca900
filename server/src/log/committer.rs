//! Who writes the log: takes turns, writes what it took as one group, syncs once, tells the sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CommitSink;
use super::local::OnFatal;
use super::queue::{Proposal, Queue};
use super::writer::{AppendError, Writer};

/// Shared by its own thread, which writes what waits, and by proposers that write themselves while nobody else does.
pub(super) struct Committer {
    pub writer: Mutex<Writer>,
    pub queue: Queue,
    pub sink: Arc<dyn CommitSink>,
    pub group_bytes: usize,
    pub on_fatal: OnFatal,
}

impl Committer {
    /// The thread, until the close.
    pub fn run(&self) {
        while let Some(proposals) = self.queue.take(self.group_bytes) {
            self.commit(proposals);
        }
        // Nobody knows what the disk has if the log was abandoned.
        if self.queue.is_abandoned() {
            return;
        }
        // Nothing depends on the mark; a full disk may go without.
        if let Err(AppendError::Fatal(error)) = self.writer().mark() {
            self.on_fatal.call(&error.to_string(), Some(&error.source));
        }
    }

    /// Writes the proposals of whoever has the turn, tells the sink, and ends the turn.
    pub fn commit(&self, proposals: Vec<Proposal>) {
        let _turn = Turn(self);
        let written = self.writer().append(&proposals);
        match written {
            Ok(entries) => self.sink.committed(entries),
            Err(AppendError::NoSpace) => {
                tracing::warn!("the log's disk is full; proposals are refused until there is space");
                self.queue.refuse(proposals, &*self.sink);
            }
            Err(AppendError::Fatal(error)) => {
                self.queue.abandon();
                self.on_fatal.call(&error.to_string(), Some(&error.source));
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a turn. If it is a panic, it is the end of the log as well: nobody waits for what will not come.
struct Turn<'a>(&'a Committer);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue.abandon();
            self.0.on_fatal.call("a write of the log panicked", None);
        }
        self.0.queue.end_turn();
    }
}
