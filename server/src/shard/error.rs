//! Why a shard did not answer a command.

use super::halted::Stop;

/// The shard did not take the command, or its answer cannot be known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShardError {
    /// A check of the shard's state failed; it takes nothing more until the server is restarted after a look at it.
    #[error("the shard is halted: {0}")]
    Halted(Stop),
    /// The log has no room. Nothing of the command was stored.
    #[error("the disk is full")]
    DiskFull,
    /// More is waiting to be synced than the log takes. Nothing of the command was stored.
    #[error("the log is overloaded")]
    Overloaded,
    /// The command is larger than a log entry may be. Nothing of it was stored.
    #[error("the command is larger than a log entry may be")]
    TooLarge,
    /// The server stopped before the command was known to be stored or not.
    #[error("the server is stopping")]
    Stopping,
}
