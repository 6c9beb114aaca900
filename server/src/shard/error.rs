//! Why a shard did not answer a command.

use super::halted::Stop;

/// The shard refused the command, or its outcome is unknown.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShardError {
    /// A check of the shard's state failed; it accepts nothing until the server is restarted after an inspection.
    #[error("the shard is halted: {0}")]
    Halted(Stop),
    /// The log has no disk space. Nothing of the command was stored.
    #[error("the disk is full")]
    DiskFull,
    /// More waits to be synced than the log accepts. Nothing of the command was stored.
    #[error("the log is overloaded")]
    Overloaded,
    /// The command is larger than a log entry may be. Nothing of it was stored.
    #[error("the command is larger than a log entry may be")]
    TooLarge,
    /// The server stopped before the command was known to be stored or not.
    #[error("the server is stopping")]
    Stopping,
}
