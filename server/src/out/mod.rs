//! What the process writes for people: to standard error, to standard output, to a file. A thread for each writes whole
//! lines, one at a time, so that nothing waits for somebody to read them.
//!
//! *Lines* are for people and may be dropped: when too many wait, or when writing one fails. Dropped lines are counted.
//! *Records* are never dropped: each is tried until it is written, from the byte on where a try stopped. Their callers
//! limit how many wait. Both can be written to one file, and do not tear each other there.

mod queue;
mod stream;
mod target;
mod thread;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use self::{
    queue::{Record, Shared},
    target::Target,
};
pub use self::{stream::Stream, target::let_terminals_stop};

/// An output; its clones are the same output.
#[derive(Clone, Debug)]
pub struct Out(Arc<Owner>);

/// Ends the thread when no output is left that could pass it anything.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Out {
    /// Standard error. Nothing is started before there is something to write.
    pub fn stderr() -> Self {
        Self::of("stderr", Target::stream(Stream::Stderr))
    }

    /// Standard output, past the buffer of the standard library.
    pub fn stdout() -> Self {
        Self::of("stdout", Target::stream(Stream::Stdout))
    }

    /// A file that is appended to, and made again when it is moved or removed. A named pipe is one, too, and need not
    /// have a reader yet.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::of("access", Target::file(path)?))
    }

    /// Whether it can be written to at all: a closed standard stream accepts nothing.
    pub(crate) fn is_open(&self) -> bool {
        self.shared().is_open
    }

    /// Whether both are one pipe, terminal or file: two who write there would tear each other's lines.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        let file_id = self.shared().file_id;
        file_id.is_some() && file_id == other.shared().file_id
    }

    fn of(name: &'static str, target: Target) -> Self {
        Self(Arc::new(Owner(Arc::new(Shared::new(name, target)))))
    }

    /// Writes a line, and adds a line feed if it has none. It never waits; a line that is too long is cut, and one
    /// beyond the limit is dropped.
    pub fn line(&self, line: impl Into<Vec<u8>>) {
        let mut line = line.into();
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        self.piece(line);
    }

    /// Writes text that need not end with a line: what is drawn on a terminal.
    pub fn piece(&self, piece: Vec<u8>) {
        self.shared().push_line(piece);
    }

    /// Writes a record, which ends with a line feed. Its slot is released once it is written.
    pub(crate) fn record(&self, line: Vec<u8>, slot: Option<OwnedSemaphorePermit>) {
        self.shared().push_record(Record { line, slot });
    }

    /// How many lines were dropped: too many at once, or not written.
    pub fn dropped(&self) -> u64 {
        self.shared().dropped()
    }

    /// How many records are written.
    pub(crate) fn written(&self) -> u64 {
        self.shared().written()
    }

    /// How many attempts to write a record have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.shared().failures()
    }

    /// How many records wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.shared().records_waiting()
    }

    /// Returns when all that was handed over is written or dropped, but after this time in any case. For the end of a
    /// process: it blocks.
    pub fn flush(&self, limit: Duration) {
        self.shared().flush(limit);
    }

    /// Waits until the last records are written and, in a file, synced; how many are not. Gives up at `until`. Blocks.
    pub(crate) fn close(&self, until: Instant) -> usize {
        self.shared().close(until)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
