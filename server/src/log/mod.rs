//! The replicated log: entries in an order per group, durable before they are reported.
//!
//! A *group* is one shard, or the catalogue. [`Log::propose`] passes bytes to the log; when they are durable the log
//! reports them to its [`CommitSink`], in the order of the calls of that group. [`LocalLog`] is the log of a single
//! node: segment files of its own, written by one thread at a time, which syncs for all groups at once: the log's own
//! thread, or a proposer that [asks for it](Log::propose_inline). [`MemLog`] fulfils the same contract without a disk.

mod aligned;
mod committer;
#[cfg(test)]
mod conformance;
mod disk;
mod errors;
#[cfg(test)]
mod failing_tests;
mod format;
mod sealed;
mod local;
mod memory;
mod open;
mod options;
mod queue;
#[cfg(test)]
mod recovery_tests;
mod recycle;
#[cfg(test)]
mod recycle_tests;
mod segment;
mod preallocate;
#[cfg(test)]
mod preallocate_tests;
#[cfg(test)]
mod write_lock_tests;
mod writer;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

pub use self::{
    errors::{LogOpenError, ReplayError},
    local::LocalLog,
    memory::{MemDisk, MemLog},
    open::OpenLog,
    options::{LocalLogOptions, OnFatal, Watched},
};

/// One ordered log among those that share the disk: a shard's, or the catalogue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

impl GroupId {
    /// The catalogue's group; shards count up from 0 and never reach it.
    pub const CATALOGUE: Self = Self(0xFFFF);
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::CATALOGUE { f.write_str("the catalogue") } else { write!(f, "shard {}", self.0) }
    }
}

/// A durable proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The group of the entry.
    pub group: GroupId,
    /// Its index in the group, counted from 1 without a gap.
    pub index: u64,
    /// The bytes that were proposed.
    pub data: Bytes,
}

/// An ordered, durable log per group.
pub trait Log: Send + Sync {
    /// Passes `data` to the log. Many proposals may be in flight; within a group the order of the calls is the order of
    /// the indices. Success promises nothing yet: [`CommitSink::committed`] does.
    ///
    /// Does not wait for the disk, except briefly when too much is queued already.
    ///
    /// # Errors
    /// When the proposal was refused; it will never be in the log.
    fn propose(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError>;

    /// [`propose`](Self::propose) for a proposer that may wait for the disk: if nobody else writes, nothing waits, and
    /// the disk was fast last time, the proposal is written on the caller's thread, and reported to the sink before
    /// this returns. Then no thread has to be woken.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    fn propose_inline(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.propose(group, data)
    }

    /// Allows the log to forget entries at or below these indices: their effects are in the flushed store. A group
    /// that is not named keeps everything.
    ///
    /// # Errors
    /// When a file could not be removed; the log is still whole and the call can be repeated.
    fn trim(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogError>;

    /// Bytes written since [`trim`](Self::trim) was last called; after a start, the bytes the log held.
    fn bytes_since_trim(&self) -> u64;

    /// How the log is doing.
    fn state(&self) -> LogState {
        LogState::default()
    }

    /// Finishes what was proposed and reports it to the sink, then accepts no more. Must not be called by the sink.
    fn close(&self);
}

/// How a log is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogState {
    /// Proposals that wait for the disk.
    pub queued_entries: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Segment files still needed, the one that is written included.
    pub segments: usize,
}

/// Receives how long the disk takes. Called by the current writer, one at a time.
pub trait LogWatch: Send + Sync {
    /// A group of entries was written and synced.
    fn synced(&self, entries: usize, bytes: u64, write: Duration, sync: Duration);
}

/// Receives the outcomes of proposals. The current writer calls it, the log's own thread or a proposer, and nothing is
/// written meanwhile: pass the entries on and return. A sink that waits for a proposer that waits for the log would
/// never return.
pub trait CommitSink: Send + Sync + 'static {
    /// These entries are durable. Those of a group are reported in order, each exactly once.
    fn committed(&self, entries: Vec<Entry>);

    /// These proposals, the oldest of the group that were not yet decided, were not written and took no index. Later
    /// proposals of the group may still be committed.
    fn refused(&self, group: GroupId, proposals: Vec<Bytes>, why: ProposeError);
}

/// Why a proposal was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The disk is full. The log tries again by itself when asked again a little later.
    #[error("the log's disk is full")]
    Full,
    /// More is queued than the log may hold in memory.
    #[error("the log has too much waiting for the disk")]
    Busy,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The proposal is larger than an entry may be.
    #[error("a log entry of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit of an entry.
        limit: usize,
    },
}

/// A log file could not be handled.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {}: {source}", path.display())]
pub struct LogError {
    /// The operation that failed.
    pub doing: &'static str,
    /// On which file.
    pub path: std::path::PathBuf,
    /// Why it failed.
    pub source: std::io::Error,
}
