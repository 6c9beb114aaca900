//! What an operator can do, while no server runs, if a shard halts at every start on one entry of its log: skip the
//! entry and set the department that it names aside; later, open the department again.
//!
//! Everything is rehearsed first, in memory, on a folder that is only read. Only if the rehearsal succeeds, the folder
//! is opened for writing; one atomic batch of rows makes the change, and is flushed.

mod error;
mod folder;
mod rehearse;
mod reopen;
mod skip;

pub use error::SetAsideError;
pub(crate) use rehearse::{Ended, Rehearsal};
pub use reopen::{ReopenDepartment, Reopened, reopen_department};
pub use skip::{SkipEntry, Skipped, skip_entry};

/// A department that is set aside, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// `tenants/{tenant}/departments/{department}`.
    pub department: String,
    /// Its shard.
    pub shard: u16,
    /// The entry of the shard's log that was skipped.
    pub index: u64,
    /// SHA-256 of the entry, in hex.
    pub digest: String,
    /// When, by the wall clock, Unix milliseconds.
    pub at_ms: u64,
    /// The operator who did it.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
}
