//! `posthouse store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `posthouse store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Check every checksum of a data folder, and whether log and store fit together. Writes nothing.
    Check(StoreCheck),
    /// Skip an entry of the log that halts a shard, and set the department that it names aside.
    Skip(StoreSkip),
    /// Reopen a department that was set aside.
    Reopen(StoreReopen),
}

/// The data folder of a command that changes it.
#[derive(Debug, Args)]
pub struct DataFolder {
    /// The data folder: `data_dir` of the server's configuration.
    #[arg(long = "data-dir", value_name = "DIR", env = "POSTHOUSE_DATA_DIR")]
    pub dir: PathBuf,
}

/// `posthouse store skip`.
#[derive(Debug, Args)]
#[command(
    long_about = "Skip an entry of a shard's log that halts the shard at every start, and set the department that it \
        names aside, so that the shard's other departments are served again. The server must be stopped.\n\n\
        The server's log and `posthouse store check` name the entry. None of its commands is applied, even if one was \
        answered. Nothing of the department is read, changed or timed until `posthouse store reopen`; no configuration \
        opens it.\n\n\
        The command refuses, and changes nothing, if the entry does not halt the shard, has another digest, names no \
        department or several, was written by a newer version, or cannot be read because the disk is damaged. A second \
        call for the same entry says that it is done.",
    after_help = "Examples:\n  \
        posthouse store skip 5 1234 --digest 8f0c2a61d3b95e47 --reason panics-since-1.4 --data-dir /var/lib/posthouse"
)]
pub struct StoreSkip {
    /// The halted shard.
    #[arg(value_name = "SHARD")]
    pub shard: u16,
    /// Index of the entry that halts it.
    #[arg(value_name = "INDEX")]
    pub index: u64,
    /// SHA-256 of the entry in hex, or at least its first 16 digits.
    #[arg(long, value_name = "DIGEST")]
    pub digest: String,
    /// The reason, which is kept with the department and shown by `posthouse store check`.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// The data folder.
    #[command(flatten)]
    pub folder: DataFolder,
}

/// `posthouse store reopen`.
#[derive(Debug, Args)]
#[command(
    long_about = "Reopen a department that `posthouse store skip` has set aside. The server must be stopped.\n\n\
        Its rows are checked first. What became due in the meantime, such as the ends of leases, happens when the \
        server starts.",
    after_help = "Examples:\n  posthouse store reopen civil-affairs/identity-cards --data-dir /var/lib/posthouse"
)]
pub struct StoreReopen {
    /// TENANT/DEPARTMENT, or the full resource name.
    #[arg(value_name = "DEPARTMENT")]
    pub department: String,
    /// Open it although its rows are inconsistent. Its next command or timer may halt its shard again, for all
    /// departments of the shard.
    #[arg(long)]
    pub force: bool,
    /// The data folder.
    #[command(flatten)]
    pub folder: DataFolder,
}

/// Checks that a reason can be shown on one line.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_REASON_BYTES || text.chars().any(char::is_control) {
        return Err(format!("give 1 to {MAX_REASON_BYTES} bytes without control characters"));
    }
    Ok(text.to_owned())
}

/// Longest reason of a skip.
const MAX_REASON_BYTES: usize = 500;

/// `posthouse store check`.
#[derive(Debug, Args)]
#[command(
    long_about = "Check a data folder whose server is stopped. Nothing is written.\n\n\
        It checks, in this order: the NODE file; the checksum of every group of the log; the checksum of every block \
        of the store; the rows of every shard against each other; and whether the log covers the store. The exit code \
        is 0 if everything was checked and is sound, and otherwise 65.",
    after_help = "Examples:\n  posthouse store check /var/lib/posthouse"
)]
pub struct StoreCheck {
    /// The data folder: `data_dir` of the server's configuration.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Largest number of rows of one shard that are compared in memory, at about 100 bytes each.
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    pub max_rows: u64,
}
